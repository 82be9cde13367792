#include "tests/store/store_walk.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <set>

#include "lib/store/memory/memory_store.h"

namespace parkd {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

const std::vector<std::string> kModels = {"solo-a", "solo-b", "shared"};
const std::vector<std::string> kFailures = {"internal", "invalid_request"};

std::string text_of(const std::optional<WallTime>& time) {
  return time ? to_rfc3339(*time) : "never";
}

}  // namespace

const std::vector<std::string> StoreWalk::kTenants = {"t", "u", "v"};
const std::vector<std::string> StoreWalk::kKeys = {"box", "box2", "b"};

StoreWalk::StoreWalk(uint64_t seed, bool ids_agree, Open open_store)
    : random_(seed),
      ids_agree_(ids_agree),
      open_(std::move(open_store)),
      oracle_store_(make_memory_store({}, clock_)) {
  oracle_ = std::make_unique<StoreDriver>(*oracle_store_);
  open();
  for (size_t i = 0; i < kReaders; ++i) {
    readers_[i].thread = std::thread([this, i] { follow_boxes(i); });
  }
}

StoreWalk::~StoreWalk() {
  has_ended_ = true;
  for (Reader& reader : readers_) reader.thread.join();
  close();
}

void StoreWalk::step() {
  const uint64_t what = random_() % 100;
  if (what < 27) return submit();
  if (what < 45) return claim();
  if (what < 59) return finish();
  if (what < 65) return release();
  if (what < 70) return cancel();
  if (what < 74) return requeue();
  if (what < 77) return open_batch();
  if (what < 80) return change_batch();
  if (what < 82) return die();
  if (what < 85) return take();
  if (what < 88) return look();
  if (what < 92) return purge();
  if (what < 98) return pass_time();
  if (what < 99) return burst();
  restart();
}

// --- what can be compared: all but ids, sequences and leases, which each store counts in its own
// way

std::string StoreWalk::custom_id_of(JobId id, Side side) const {
  const auto& names = side == Side::ours ? our_names_ : oracle_names_;
  const auto found = names.find(id);
  return found == names.end() ? "?" : found->second;
}

std::string StoreWalk::name_of_batch(const std::string& id, Side side) const {
  const auto& names = side == Side::ours ? our_batch_names_ : oracle_batch_names_;
  const auto found = names.find(id);
  return found == names.end() ? id : found->second;
}

std::string StoreWalk::text_of(const Job& job, Side side) const {
  const JobSpec& spec = job.spec;
  std::string text =
      "job " + spec.custom_id + " " + spec.model + "/" + spec.tenant + "/" + spec.mailbox_key +
      " " + std::string(to_string(job.state)) + " attempts " + std::to_string(job.attempts) +
      " deaths " + std::to_string(job.interruptions) + "/" + std::to_string(job.deaths_alone) +
      (job.suspect_group != 0 ? " suspect" : "") + " order " + to_rfc3339(job.order_key) +
      " created " + to_rfc3339(job.created_at) + " body " + spec.body + " seed " +
      std::to_string(spec.seed.value_or(0)) + " retention " +
      std::to_string(spec.retention->count()) + " leased " +
      std::to_string(job.lease != RunLease{}) + " run_at " + parkd::text_of(spec.run_at) +
      " deadline " + parkd::text_of(spec.deadline) + " batch " + name_of_batch(spec.batch_id, side);
  if (job.requeued_from != 0) text += " requeued from " + custom_id_of(job.requeued_from, side);
  return text;
}

std::string StoreWalk::text_of(const Message& message, Side side) const {
  return "message of " + message.custom_id + " " + std::string(to_string(message.ending.outcome)) +
         " " + message.ending.error_code + " " + std::to_string(message.ending.status_code) +
         " body " + message.ending.body + " attempts " + std::to_string(message.attempts) +
         " ran " + std::to_string(message.lease != RunLease{}) + " finished " +
         to_rfc3339(message.finished_at) + " expires " + to_rfc3339(message.expires_at) +
         " batch " + name_of_batch(message.batch_id, side);
}

std::string StoreWalk::text_of(const Batch& batch) const {
  std::string text = "batch " + batch.spec.name + " of " + batch.spec.tenant + " " +
                     std::string(to_string(batch.state())) + " key " + batch.spec.idempotency_key;
  for (const int64_t n :
       {batch.total, batch.completed, batch.failed, batch.cancelled, batch.deadline_missed,
        batch.quarantined, batch.truncated, int64_t{batch.spec.retention->count()}}) {
    text += " " + std::to_string(n);
  }
  for (const auto& time : {std::optional(batch.created_at), batch.spec.deadline, batch.sealed_at,
                           batch.cancel_at, batch.finished_at}) {
    text += " " + parkd::text_of(time);
  }
  if (batch.live) {
    text += " live " + std::to_string(batch.live->scheduled) + " " +
            std::to_string(batch.live->queued) + " " + std::to_string(batch.live->claimed);
  }
  return text;
}

std::string StoreWalk::text_of(const JobRecord& record, Side side) const {
  if (const Job* job = std::get_if<Job>(&record)) return text_of(*job, side);
  if (const Message* message = std::get_if<Message>(&record)) return text_of(*message, side);
  if (const HistoryRow* row = std::get_if<HistoryRow>(&record)) {
    return "history of " + row->custom_id + " " + std::string(to_string(row->outcome)) + " " +
           row->tenant + " " + to_rfc3339(row->finished_at);
  }
  return "nothing";
}

template <class T>
std::string StoreWalk::text_of(const Result<std::vector<T>>& rows, Side side, bool sorted) const {
  if (!rows.ok()) return rows.status().to_string();
  std::vector<std::string> texts;
  for (const T& row : *rows) texts.push_back(text_of(row, side));
  if (sorted) std::sort(texts.begin(), texts.end());
  std::string text = std::to_string(texts.size()) + " of:";
  for (const std::string& one : texts) text += "\n" + one;
  return text;
}

// --- the two stores

void StoreWalk::open() {
  auto opened = open_(clock_);
  ASSERT_TRUE(opened.ok()) << opened.status().to_string();
  real_store_ = std::move(opened).value();
  store_ = std::make_unique<StoreDriver>(*real_store_);
}

void StoreWalk::close() {
  store_.reset();
  real_store_.reset();
}

void StoreWalk::restart() {
  {
    std::array<std::unique_lock<std::mutex>, kReaders> locks;
    for (size_t i = 0; i < kReaders; ++i) locks[i] = std::unique_lock(readers_[i].reading);
    close();
    open();
  }
  ListFilter claimed;
  claimed.state = JobState::claimed;
  claimed.limit = 1'000'000;
  const auto lost = oracle_->list(claimed);
  ASSERT_TRUE(lost.ok());
  std::vector<ReleaseItem> releases;
  for (const Job& job : *lost) releases.push_back({job.id, job.lease, false, std::nullopt});
  ASSERT_TRUE(oracle_->release(releases).ok());
  // Ends what was to be cancelled, as the release did; purge comes after it in the store's queue.
  purge();
}

void StoreWalk::pass_time() {
  const uint64_t what = random_() % 10;
  if (what < 6) clock_.advance(seconds(random_() % 300));
  if (what == 6) clock_.advance(Micros(random_() % 3));
  if (what == 7 || what == 8) clock_.advance(hours(random_() % 8));
  if (what == 9) clock_.advance(hours(random_() % (24 * 12)));
}

StoreWalk::JobPair StoreWalk::any_job() {
  return jobs_.empty() ? JobPair{4711, 4711} : any_of(jobs_);
}

std::string StoreWalk::any_tenant_or_privileged() {
  return chance(50) ? "" : any_of(kTenants);
}

void StoreWalk::know(const JobPair& pair, const std::string& custom_id) {
  if (ids_agree_) {
    ASSERT_EQ(pair.ours, pair.oracles);
  }
  const auto [at, fresh] = our_names_.emplace(pair.ours, custom_id);
  ASSERT_EQ(fresh, oracle_names_.emplace(pair.oracles, custom_id).second)
      << "one of them named another job";
  if (fresh) jobs_.push_back(pair);
}

// --- verbs

void StoreWalk::submit() {
  std::vector<JobSpec> ours;
  std::vector<JobSpec> oracles;
  for (uint64_t n = 1 + random_() % 3; n > 0; --n) {
    SpecPair pair = any_spec();
    ours.push_back(std::move(pair.ours));
    oracles.push_back(std::move(pair.oracles));
  }
  const auto answers = store_->submit(ours);
  const auto expected = oracle_->submit(oracles);
  ASSERT_EQ(answers.ok(), expected.ok())
      << answers.status().to_string() << " / " << expected.status().to_string();
  if (!answers.ok()) {
    ASSERT_EQ(answers.status().code(), expected.status().code());
    ASSERT_EQ(answers.status().param(), expected.status().param());
    return;
  }
  for (size_t i = 0; i < ours.size(); ++i) {
    ASSERT_EQ(answers->at(i).existed, expected->at(i).existed);
    ASSERT_EQ(answers->at(i).finished, expected->at(i).finished);
    ASSERT_EQ(answers->at(i).mailbox_key, expected->at(i).mailbox_key);
    ASSERT_NO_FATAL_FAILURE(know({answers->at(i).id, expected->at(i).id}, ours[i].custom_id));
  }
}

StoreWalk::SpecPair StoreWalk::any_spec() {
  JobSpec spec;
  spec.model = any_of(kModels);
  spec.tenant = spec.model == "shared" ? any_of(kTenants) : kTenants[0];
  spec.mailbox_key = any_of(kKeys);
  spec.custom_id = std::to_string(++n_specs_);
  spec.priority = static_cast<Priority>(random_() % 4);
  spec.body = "{\"n\":" + std::to_string(random_() % 1000) + "}";
  spec.seed = random_();
  spec.prompt_tokens = static_cast<int32_t>(random_() % 1000);
  spec.max_new_tokens = static_cast<int32_t>(random_() % 1000);
  if (chance(20)) spec.run_at = clock_.now() + minutes(random_() % 200);
  if (chance(20)) spec.deadline = clock_.now() + seconds(random_() % 7200);
  if (chance(30)) spec.retention = seconds(60 + random_() % (30 * 24 * 3600 - 60));
  SpecPair pair{spec, spec};
  if (chance(10)) pair.ours.batch_id = pair.oracles.batch_id = "a label";
  if (chance(30) && !batches_.empty()) {
    // Mostly of the last ones: the others are sealed by now.
    const size_t n_last = std::min<size_t>(batches_.size(), 4);
    const BatchPair& batch = batches_[batches_.size() - 1 - random_() % n_last];
    pair.ours.batch_id = batch.ours;
    pair.oracles.batch_id = batch.oracles;
    if (chance(80)) pair.ours.deadline = pair.oracles.deadline = std::nullopt;
  }
  if (chance(30)) {
    const std::string key = "i" + std::to_string(random_() % 20);
    pair.ours.idempotency_key = pair.oracles.idempotency_key = key;
    const auto known = keyed_.find({spec.tenant, key});
    // Often the very same again; for a key that has expired it is a new job of the old name.
    if (known != keyed_.end() && chance(70)) {
      SpecPair again = known->second;
      again.ours.custom_id = again.oracles.custom_id = known->second.ours.custom_id;
      return again;
    }
    keyed_[{spec.tenant, key}] = pair;
  }
  return pair;
}

// Of the model whose tenants share, all that is within the limits.
ClaimRequest StoreWalk::any_claim() {
  ClaimRequest request;
  request.model = any_of(kModels);
  request.max_jobs =
      request.model == "shared" ? 1'000'000 : static_cast<int32_t>(1 + random_() % 4);
  if (chance(40)) return request;
  for (const std::string& tenant : kTenants) {
    if (chance(40)) request.tenant_room[tenant] = static_cast<int32_t>(random_() % 4);
  }
  if (chance(40)) request.others_room = static_cast<int32_t>(random_() % 4);
  if (chance(30)) request.need_tokens_max = static_cast<int64_t>(random_() % 2000);
  return request;
}

void StoreWalk::claim() {
  const ClaimRequest request = any_claim();
  auto ours = store_->claim(request);
  auto oracles = oracle_->claim(request);
  ASSERT_TRUE(ours.ok() && oracles.ok());
  if (request.model == "shared") {
    // The order across tenants is each store's own; inside a tenant it is the same.
    const auto by_tenant = [](const Job& a, const Job& b) {
      const auto key = [](const Job& j) {
        return std::pair(j.spec.priority != Priority::critical, j.spec.tenant);
      };
      return key(a) < key(b);
    };
    std::stable_sort(ours->begin(), ours->end(), by_tenant);
    std::stable_sort(oracles->begin(), oracles->end(), by_tenant);
  }
  ASSERT_EQ(text_of(ours, Side::ours, false), text_of(oracles, Side::oracles, false));
  for (size_t i = 0; i < ours->size(); ++i) {
    claims_.push_back(
        {{ours->at(i).id, oracles->at(i).id}, ours->at(i).lease, oracles->at(i).lease});
  }
}

void StoreWalk::finish() {
  std::vector<ClaimPair> chosen;
  for (uint64_t n = random_() % 4; n > 0 && !claims_.empty(); --n) {
    chosen.push_back(any_of(claims_));
  }
  // Messages get their sequences in the order of ids, whatever the order in the call.
  std::stable_sort(chosen.begin(), chosen.end(),
                   [](const ClaimPair& a, const ClaimPair& b) { return a.job.ours < b.job.ours; });
  std::vector<FinishItem> ours;
  std::vector<FinishItem> oracles;
  for (const ClaimPair& claim : chosen) {
    Ending ending;
    ending.body = chance(80) ? "{\"choices\":[{\"finish_reason\":\"" +
                                   std::string(chance(50) ? "length" : "stop") + "\"}]}"
                             : "text " + std::to_string(random_() % 9);
    if (chance(40)) {
      ending.outcome = Outcome::failed;
      ending.error_code = any_of(kFailures);
    } else if (chance(5)) {
      ending.outcome = Outcome::quarantined;
      ending.error_code = "quarantined";
    }
    ours.push_back({claim.job.ours, claim.ours, ending});
    oracles.push_back({claim.job.oracles, claim.oracles, ending});
  }
  const auto answers = store_->finish(ours);
  const auto expected = oracle_->finish(oracles);
  ASSERT_TRUE(answers.ok() && expected.ok());
  for (size_t i = 0; i < expected->size(); ++i) {
    if ((*answers)[i] == (*expected)[i]) continue;
    // How long an end is remembered after its history row expired is each store's own.
    ASSERT_NE((*answers)[i], FinishAnswer::finished_now);
    ASSERT_NE((*expected)[i], FinishAnswer::finished_now);
    ASSERT_TRUE(std::holds_alternative<std::monostate>(*oracle_->get(oracles[i].id, "")))
        << "ours " << static_cast<int>((*answers)[i]) << ", the oracle's "
        << static_cast<int>((*expected)[i]) << ", job " << oracles[i].id;
  }
}

void StoreWalk::release() {
  std::vector<ReleaseItem> ours;
  std::vector<ReleaseItem> oracles;
  std::set<JobId> named;  // which of two releases of a run in one call counts is each store's own
  for (uint64_t n = random_() % 3; n > 0 && !claims_.empty(); --n) {
    const ClaimPair claim = any_of(claims_);
    if (!named.insert(claim.job.ours).second) continue;
    std::optional<WallTime> run_at;
    if (chance(40)) run_at = clock_.now() + seconds(random_() % 600);
    const bool spend = chance(50);
    ours.push_back({claim.job.ours, claim.ours, spend, run_at});
    oracles.push_back({claim.job.oracles, claim.oracles, spend, run_at});
  }
  ASSERT_EQ(store_->release(ours).value(), oracle_->release(oracles).value());
}

void StoreWalk::cancel() {
  const JobPair job = any_job();
  const std::string tenant = any_tenant_or_privileged();
  ASSERT_EQ(*store_->cancel(job.ours, tenant), *oracle_->cancel(job.oracles, tenant));
}

void StoreWalk::requeue() {
  RequeueRequest ours;
  ours.tenant = any_tenant_or_privileged();
  if (chance(30)) ours.model = any_of(kModels);
  RequeueRequest oracles = ours;
  // Of several at once the new ids, and so the places in the queue, follow the order of the old
  // ones' messages, which the stores agree on only where their sequences do.
  const bool by_code = ids_agree_ && chance(50);
  if (by_code && !batches_.empty() && chance(50)) {
    const BatchPair& batch = any_of(batches_);
    ours.batch_id = batch.ours;
    oracles.batch_id = batch.oracles;
  }
  if (by_code && (ours.batch_id.empty() || chance(50))) {
    ours.error_codes = {any_of(kFailures)};
    if (chance(30)) ours.error_codes.push_back(any_of(kFailures));
    oracles.error_codes = ours.error_codes;
    if (chance(30)) ours.limit = oracles.limit = 2;
  }
  for (uint64_t n = by_code ? 0 : 1; n > 0; --n) {
    const JobPair job = any_job();
    ours.ids.push_back(job.ours);
    oracles.ids.push_back(job.oracles);
  }
  const auto answers = store_->requeue(ours);
  const auto expected = oracle_->requeue(oracles);
  ASSERT_TRUE(answers.ok() && expected.ok()) << answers.status().to_string();
  ASSERT_EQ(answers->size(), expected->size());
  for (size_t i = 0; i < answers->size(); ++i) {
    const RequeuedJob& job = answers->at(i);
    ASSERT_EQ(custom_id_of(job.requeued_from, Side::ours),
              custom_id_of(expected->at(i).requeued_from, Side::oracles));
    ASSERT_EQ(job.existed, expected->at(i).existed);
    ASSERT_EQ(job.mailbox_key, expected->at(i).mailbox_key);
    ASSERT_NO_FATAL_FAILURE(
        know({job.id, expected->at(i).id}, custom_id_of(job.requeued_from, Side::ours) + "'"));
  }
}

void StoreWalk::die() {
  DeathReport ours;
  DeathReport oracles;
  ours.noted = oracles.noted = chance(70);
  for (uint64_t n = random_() % 4; n > 0 && !claims_.empty(); --n) {
    const ClaimPair claim = any_of(claims_);
    ours.present.push_back({claim.job.ours, claim.ours});
    oracles.present.push_back({claim.job.oracles, claim.oracles});
  }
  const auto said = store_->note_deaths(ours);
  const auto expected = oracle_->note_deaths(oracles);
  ASSERT_TRUE(said.ok() && expected.ok());
  ASSERT_EQ(said->suspects, expected->suspects);
  ASSERT_EQ(said->quarantined, expected->quarantined);
}

void StoreWalk::open_batch() {
  BatchSpec spec;
  spec.tenant = any_of(kTenants);
  spec.name = "batch " + std::to_string(++n_batches_);
  if (chance(70)) spec.deadline = clock_.now() + minutes(1 + random_() % 3000);
  if (chance(50)) spec.retention = hours(1 + random_() % 600);
  if (chance(40)) {
    spec.idempotency_key = "k" + std::to_string(random_() % 6);
    const auto known = keyed_batches_.find({spec.tenant, spec.idempotency_key});
    if (known != keyed_batches_.end() && chance(60)) spec = known->second;
    keyed_batches_[{spec.tenant, spec.idempotency_key}] = spec;
  }
  const auto ours = store_->open_batch(spec);
  const auto oracles = oracle_->open_batch(spec);
  ASSERT_EQ(ours.ok(), oracles.ok())
      << ours.status().to_string() << " / " << oracles.status().to_string();
  if (!ours.ok()) {
    ASSERT_EQ(ours.status().code(), oracles.status().code());
    ASSERT_EQ(ours.status().param(), oracles.status().param());
    return;
  }
  ASSERT_EQ(ours->existed, oracles->existed);
  ASSERT_EQ(text_of(ours->batch), text_of(oracles->batch));
  if (ours->existed) {
    ASSERT_EQ(our_batch_names_.at(ours->batch.id), oracle_batch_names_.at(oracles->batch.id));
    return;
  }
  // A name comes twice when a batch was forgotten and its key used again.
  const std::string name = spec.name + "/" + std::to_string(n_batches_);
  our_batch_names_[ours->batch.id] = name;
  oracle_batch_names_[oracles->batch.id] = name;
  batches_.push_back({ours->batch.id, oracles->batch.id});
}

void StoreWalk::change_batch() {
  if (batches_.empty()) return;
  const BatchPair pair = any_of(batches_);
  const std::string tenant = any_tenant_or_privileged();
  const bool seals = chance(60);
  const auto ours =
      seals ? store_->seal_batch(pair.ours, tenant) : store_->cancel_batch(pair.ours, tenant);
  const auto oracles = seals ? oracle_->seal_batch(pair.oracles, tenant)
                             : oracle_->cancel_batch(pair.oracles, tenant);
  ASSERT_EQ(ours.status().code(), oracles.status().code());
  if (ours.ok()) {
    ASSERT_EQ(text_of(*ours), text_of(*oracles));
  }
}

void StoreWalk::compare_batch(const BatchPair& pair, const std::string& tenant) {
  const auto ours = store_->get_batch(pair.ours, tenant);
  const auto oracles = oracle_->get_batch(pair.oracles, tenant);
  ASSERT_EQ(ours.status().code(), oracles.status().code());
  if (!ours.ok()) return;
  ASSERT_EQ(text_of(*ours), text_of(*oracles));
  ASSERT_EQ(ours->live->scheduled + ours->live->queued + ours->live->claimed, ours->unfinished())
      << "counters equal rows";
}

void StoreWalk::take() {
  const std::string& tenant = any_of(kTenants);
  const std::string& key = any_of(kKeys);
  ASSERT_NO_FATAL_FAILURE(compare_box(tenant, key));
  const FetchRequest all{tenant, key, 0, 1'000'000};
  const auto sequences_of = [this](const FetchAnswer& box, Side side) {
    std::map<std::string, uint64_t> sequences;
    for (const Message& message : box.messages)
      sequences[text_of(message, side)] = message.sequence;
    return sequences;
  };
  const auto ours = sequences_of(*store_->fetch(all), Side::ours);
  const auto oracles = sequences_of(*oracle_->fetch(all), Side::oracles);
  std::vector<uint64_t> from_ours = {random_() % 3};  // perhaps there, under another key
  std::vector<uint64_t> from_oracle;
  if (ids_agree_) from_oracle = from_ours;
  if (!ids_agree_) from_ours.clear();
  for (const auto& [text, sequence] : ours) {
    if (!chance(30)) continue;
    from_ours.push_back(sequence);
    from_oracle.push_back(oracles.at(text));
  }
  ASSERT_EQ(text_of(store_->take(tenant, key, from_ours), Side::ours, true),
            text_of(oracle_->take(tenant, key, from_oracle), Side::oracles, true));
}

void StoreWalk::compare_box(const std::string& tenant, const std::string& key) {
  const FetchRequest all{tenant, key, 0, 1'000'000};
  const auto ours = store_->fetch(all);
  const auto oracles = oracle_->fetch(all);
  ASSERT_TRUE(ours.ok() && oracles.ok());
  ASSERT_NO_FATAL_FAILURE(check_cursor(tenant, key, *ours));
  if (ids_agree_) {
    ASSERT_EQ(ours->next_sequence, oracles->next_sequence);
  }
  ASSERT_EQ(text_of(Result(ours->messages), Side::ours, !ids_agree_),
            text_of(Result(oracles->messages), Side::oracles, !ids_agree_));
}

void StoreWalk::look() {
  const JobPair job = any_job();
  const std::string tenant = any_tenant_or_privileged();
  ASSERT_EQ(text_of(*store_->get(job.ours, tenant), Side::ours),
            text_of(*oracle_->get(job.oracles, tenant), Side::oracles));
  ListFilter filter;
  if (chance(50)) filter.tenant = any_of(kTenants);
  if (chance(50)) filter.model = any_of(kModels);
  if (chance(50)) filter.state = static_cast<JobState>(random_() % 3);
  filter.limit = static_cast<int32_t>(random_() % 10);
  if (chance(30)) filter.mailbox_key = any_of(kKeys);
  ListFilter oracles = filter;
  if (!batches_.empty() && chance(30)) {
    const BatchPair& batch = any_of(batches_);
    filter.batch_id = batch.ours;
    oracles.batch_id = batch.oracles;
  }
  const JobPair after = any_job();
  filter.after = after.ours;
  oracles.after = after.oracles;
  ASSERT_EQ(text_of(store_->list(filter), Side::ours, false),
            text_of(oracle_->list(oracles), Side::oracles, false));
  if (ids_agree_) {
    const FetchRequest page{any_of(kTenants), any_of(kKeys), random_() % 200,
                            static_cast<int32_t>(random_() % 10)};
    ASSERT_EQ(text_of(Result(store_->fetch(page)->messages), Side::ours, false),
              text_of(Result(oracle_->fetch(page)->messages), Side::oracles, false));
  }
  if (!batches_.empty()) compare_batch(any_of(batches_), tenant);
}

void StoreWalk::purge() {
  const auto ours = store_->purge();
  const auto oracles = oracle_->purge();
  ASSERT_TRUE(ours.ok() && oracles.ok());
  // Not the counts of dropped rows: each store drops in portions of its own.
  ASSERT_EQ(ours->deadlines_missed, oracles->deadlines_missed);
}

void StoreWalk::compare_all() {
  ListFilter filter;
  filter.limit = 1'000'000;
  ASSERT_EQ(text_of(store_->list(filter), Side::ours, !ids_agree_),
            text_of(oracle_->list(filter), Side::oracles, !ids_agree_));
  for (const JobPair& job : jobs_) {
    ASSERT_EQ(text_of(*store_->get(job.ours, ""), Side::ours),
              text_of(*oracle_->get(job.oracles, ""), Side::oracles));
  }
  for (const std::string& tenant : kTenants) {
    for (const std::string& key : kKeys) ASSERT_NO_FATAL_FAILURE(compare_box(tenant, key));
    BatchFilter batches{tenant, "", 1'000'000};
    std::multiset<std::string> ours;  // those of one instant are in the order of their ids
    std::multiset<std::string> oracles;
    for (const Batch& batch : *store_->list_batches(batches)) ours.insert(text_of(batch));
    for (const Batch& batch : *oracle_->list_batches(batches)) oracles.insert(text_of(batch));
    ASSERT_EQ(ours, oracles);
  }
  for (const BatchPair& pair : batches_) ASSERT_NO_FATAL_FAILURE(compare_batch(pair, ""));
}

// --- for the programs that walk

uint64_t walk_seed() {
  const char* given = std::getenv("PARKD_WALK_SEED");
  const uint64_t seed = given != nullptr
                            ? std::strtoull(given, nullptr, 10)
                            : (uint64_t{std::random_device()()} << 32) | std::random_device()();
  std::cout << "seed " << seed << " (again with PARKD_WALK_SEED=" << seed << ")" << std::endl;
  return seed;
}

int walk_steps(int otherwise) {
  const char* given = std::getenv("PARKD_WALK_STEPS");
  return given != nullptr ? std::atoi(given) : otherwise;
}

void walk(StoreWalk& steps, int n_steps, uint64_t seed) {
  for (int i = 0; i < n_steps; ++i) {
    steps.step();
    ASSERT_FALSE(testing::Test::HasFatalFailure()) << "step " << i << ", seed " << seed;
    if (i % 200 == 199 || i == n_steps - 1) steps.compare_all();
    ASSERT_FALSE(testing::Test::HasFatalFailure()) << "after step " << i << ", seed " << seed;
  }
}

}  // namespace parkd
