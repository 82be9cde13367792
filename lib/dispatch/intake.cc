#include "lib/dispatch/intake.h"

#include <algorithm>
#include <iterator>
#include <set>
#include <string>
#include <utility>

#include "lib/base/check.h"
#include "lib/base/guarded.h"
#include "lib/base/log.h"
#include "lib/base/text.h"
#include "lib/dispatch/claim_plan.h"
#include "lib/dispatch/endings.h"
#include "lib/pool/price.h"

namespace parkd {

Intake::Intake(const DispatcherOptions& options, DaemonStore& store, Clock& clock,
               RunBlocking run_blocking, std::shared_ptr<DispatcherInbox> inbox,
               InFlightTable& table, Runs& runs, Finisher& finisher)
    : options_(options),
      store_(store),
      clock_(clock),
      run_blocking_(std::move(run_blocking)),
      inbox_(std::move(inbox)),
      table_(table),
      runs_(runs),
      finisher_(finisher),
      jitter_(static_cast<uint32_t>(random_u64())) {}

// --- claiming

void Intake::handle(const WorkAvailable& message) {
  const auto found = table_.served_models().find(message.model);
  if (found == table_.served_models().end()) return;
  found->second.work_hint = true;
  found->second.none_this_small.reset();
}

// What waits in the queue is claimed past the jobs before it, once for each caller: if it is not
// there it comes in its turn.
void Intake::handle(const CallerWaits& message) {
  awaited_.count(message.id, message.waits);
  const bool awaited = awaited_.contains(message.id);
  InFlight* job = table_.find_job(message.id);
  if (job != nullptr && job->phase == LivePhase::parked) {
    lot_for(*job).set_awaited(job->ticket, awaited);
  }
  const auto found = table_.served_models().find(message.model);
  if (found == table_.served_models().end()) return;
  std::set<JobId>& wanted = found->second.wanted;
  if (job == nullptr && message.waits) wanted.insert(message.id);
  if (!awaited) wanted.erase(message.id);
}

// Jittered, so that many daemons on one store do not ask at the same moment.
bool Intake::poll_if_due() {
  const SteadyTime now = clock_.steady_now();
  if (now < next_poll_) return false;
  std::uniform_real_distribution<double> factor(0.75, 1.25);
  next_poll_ = now + std::chrono::duration_cast<Micros>(options_.poll_interval * factor(jitter_));
  for (auto& [name, served] : table_.served_models()) {
    served.work_hint = true;
    served.none_this_small.reset();
  }
  return true;
}

SteadyTime Intake::next_due() const {
  SteadyTime due = next_poll_;
  if (!is_open()) return due;
  for (const auto& [name, served] : table_.served_models()) {
    if (may_claim(served)) due = std::min(due, served.claim_not_before);
  }
  return due;
}

// Where the jobs of a claim wait.
LotPlace Intake::place_of(const ClaimRequest& claim) {
  if (!claim.only.empty()) return LotPlace::awaited;
  return claim.need_tokens_max ? LotPlace::small : LotPlace::lot;
}

// Endings the store does not take must not pile up without bound while it still gives out jobs.
int32_t Intake::claimable(const ServedModel& served) {
  return 4 * (served.port->lot_places + all_sequences(served.port->parts)) -
         served.jobs_in_flight();
}

int32_t Intake::free_places(const ServedModel& served) {
  return std::min(served.places.free(), claimable(served));
}

bool Intake::may_claim(const ServedModel& served) const {
  if (!served.is_open() || served.claiming > 0) return false;
  return next_claim(served).has_value();
}

std::optional<ClaimRequest> Intake::next_claim(const ServedModel& served) const {
  if (auto claim = claim_of_awaited(served)) return claim;
  const int32_t places = free_places(served);
  if (places > 0 && (served.work_hint || is_worth_asking(served.places, places))) {
    return plan_claim(served.name, served.places, places);
  }
  return small_claim(served);
}

// Nothing is kept for them where nothing is: they come in their turn.
std::optional<ClaimRequest> Intake::claim_of_awaited(const ServedModel& served) const {
  if (served.wanted.empty() || served.pool->sequences().reserve() == 0) return std::nullopt;
  const int32_t places =
      std::min(kAwaitedPlaces - served.waiting_in(LotPlace::awaited), claimable(served));
  if (places <= 0) return std::nullopt;
  ClaimRequest claim{served.name, std::min(places, static_cast<int32_t>(served.wanted.size()))};
  claim.only.assign(served.wanted.begin(), std::next(served.wanted.begin(), claim.max_jobs));
  return claim;
}

// Nothing that is parked fits, and something smaller might: so that it does not wait in the queue
// behind a lot full of larger jobs.
std::optional<ClaimRequest> Intake::small_claim(const ServedModel& served) const {
  if (served.lot->empty() || !served.suspects.empty()) return std::nullopt;
  if (served.places.backlogged.empty() && !served.work_hint)
    return std::nullopt;  // the queue is empty
  const Blocks units = served.lot->room_past_held(*served.pool, clock_.steady_now());
  const int64_t tokens = units.count * served.port->block_size;
  const int32_t places =
      std::min(kSmallPlaces - served.waiting_in(LotPlace::small), claimable(served));
  if (places <= 0 || tokens <= served.none_this_small.value_or(0)) return std::nullopt;
  ClaimRequest claim{served.name, places};
  claim.need_tokens_max = tokens;
  return claim;
}

bool Intake::claim_more() {
  if (!is_open()) return false;
  bool asked = false;
  const SteadyTime now = clock_.steady_now();
  for (auto& [name, served] : table_.served_models()) {
    if (!may_claim(served) || now < served.claim_not_before) continue;
    served.claim = *next_claim(served);
    switch (place_of(served.claim)) {
      case LotPlace::awaited:
        for (const JobId id : served.claim.only) served.wanted.erase(id);
        break;
      case LotPlace::small:
        served.none_this_small = served.claim.need_tokens_max;  // unless work comes meanwhile
        break;
      case LotPlace::lot:
        served.work_hint = false;
        break;
    }
    served.claiming = served.claim.max_jobs;
    asked = true;
    store_.claim(served.claim, [in = inbox_, model = name,
                                ownership = ownership_](Result<std::vector<Job>> jobs) {
      in->push(Claimed{model, ownership, std::move(jobs)});
    });
  }
  return asked;
}

bool Intake::claim_is_out() const {
  return std::any_of(table_.served_models().begin(), table_.served_models().end(),
                     [](const auto& entry) { return entry.second.asks_for_jobs(); });
}

void Intake::handle(Claimed message) {
  ServedModel& served = table_.served_models().at(message.model);
  const int32_t asked = std::exchange(served.claiming, 0);
  if (!message.jobs.ok()) {
    claim_failed(served, message.jobs.status());
  } else {
    served.claim_retry_delay = Micros(0);
    PARKD_CHECK(static_cast<int32_t>(message.jobs->size()) <= asked,
                "a store gave more jobs than it was asked for");
    Came came;
    for (Job& job : *message.jobs) {
      ++came[job.spec.tenant];
      take_in(served, std::move(job), place_of(served.claim), message.ownership == ownership_);
    }
    note_answer(served, came);
  }
  if (!claim_is_out()) early_cancels_.clear();
}

// What the answer of the model's claim says of the queue.
void Intake::note_answer(ServedModel& served, const Came& came) {
  if (place_of(served.claim) == LotPlace::awaited) return;  // nothing
  int32_t n_jobs = 0;
  for (const auto& [tenant, n] : came) n_jobs += n;
  const bool small = served.claim.need_tokens_max.has_value();
  if (n_jobs < served.claim.max_jobs) {
    // A full lot asks whenever the tenants that fill it get work, for one that has none or for
    // small jobs: not each time.
    const bool in_vain = n_jobs == 0 && (small || served.claim.others_room.has_value());
    const Micros pause =
        in_vain && options_.claim_pause_per_job.count() > 0
            ? options_.claim_pause_max
            : std::min(n_jobs * options_.claim_pause_per_job, options_.claim_pause_max);
    served.claim_not_before = clock_.steady_now() + pause;
  } else if (small) {
    served.none_this_small.reset();
  } else {
    served.work_hint = true;
  }
  if (small) return;
  served.places.backlogged = backlogged_after(served.claim, came, served.places.backlogged);
  served.places_wanted = places_wanted(served.places, came);
}

void Intake::claim_failed(ServedModel& served, const Status& why) {
  served.work_hint = true;
  served.none_this_small.reset();
  for (const JobId id : served.claim.only) {
    if (awaited_.contains(id)) served.wanted.insert(id);
  }
  served.claim_retry_delay = std::clamp<Micros>(served.claim_retry_delay * 2,
                                                options_.store_retry_min, options_.store_retry_max);
  served.claim_not_before = clock_.steady_now() + served.claim_retry_delay;
  log_warn("store.retry", {{"verb", "claim"},
                           {"model", served.name},
                           {"error", why.to_string()},
                           {"retry_ms", served.claim_retry_delay.count() / 1000}});
}

void Intake::note_cancel(const CancelRequested& cancel) {
  if (claim_is_out()) early_cancels_.push_back(cancel);
}

bool Intake::cancelled_before_it_came(const Job& job) const {
  return std::any_of(early_cancels_.begin(), early_cancels_.end(), [&](const CancelRequested& c) {
    return c.id == job.id && c.lease == job.lease;
  });
}

// --- jobs whose callers wait at this daemon's door

// As far as sequences go; of those that wait, jobs with callers are before it.
bool Intake::would_start(const ServedModel& served, int32_t n_sequences) const {
  int64_t ahead = served.submitting;
  for (const auto& [ticket, job] : table_.jobs()) {
    if (job.served != &served) continue;
    if (job.phase != LivePhase::preparing && job.phase != LivePhase::parked) continue;
    if (job.place != LotPlace::awaited && !awaited_.contains(job.job->id)) continue;
    ahead += job.job->spec.n_choices;
  }
  const ReservedAmount slots = served.pool->sequences();
  return slots.in_use().sum() + ahead + n_sequences <= slots.capacity();
}

// A place of the lot, in the tenant's share; or one of those that are kept for such jobs. None for
// what would only wait here, as another daemon may have room for it.
std::optional<LotPlace> Intake::place_for_caller(const ServedModel& served,
                                                 const JobSpec& job) const {
  if (!is_open() || !served.is_open() || claimable(served) <= served.claiming) return std::nullopt;
  if (!would_start(served, job.n_choices)) return std::nullopt;
  const auto asked_for = [&](LotPlace place) {
    return place_of(served.claim) == place ? served.claiming : 0;
  };
  const int32_t places = free_places(served) - asked_for(LotPlace::lot);
  if (places > 0 && plan_claim(served.name, served.places, places).room_of(job.tenant) > 0) {
    return LotPlace::lot;
  }
  const int32_t kept =
      kAwaitedPlaces - served.waiting_in(LotPlace::awaited) - asked_for(LotPlace::awaited);
  if (kept > 0 && served.pool->sequences().reserve() > 0) return LotPlace::awaited;
  return std::nullopt;
}

// The place is taken until the store has answered.
void Intake::handle(SubmitHere message) {
  const auto found = table_.served_models().find(message.job.model);
  if (found == table_.served_models().end()) return message.no_place(std::move(message.job));
  ServedModel& served = found->second;
  const auto place = place_for_caller(served, message.job);
  if (!place) return message.no_place(std::move(message.job));
  ++served.submitting;
  ClaimedHere claimed{served.name, message.job.tenant, *place, ownership_, std::nullopt};
  table_.count_place(served, *place, claimed.tenant, 1);
  store_.submit_and_claim(std::move(message.job),
                          [in = inbox_, claimed, done = std::move(message.done)](
                              Result<SubmittedAndClaimed> answer) mutable {
                            if (answer.ok()) claimed.job = std::move(answer->claimed);
                            // First: whoever says next that it waits for the job, finds it.
                            in->push(std::move(claimed));
                            if (!answer.ok()) return done(answer.status());
                            done(std::move(answer->submitted));
                          });
}

void Intake::handle(ClaimedHere message) {
  ServedModel& served = table_.served_models().at(message.model);
  --served.submitting;
  table_.count_place(served, message.place, message.tenant, -1);
  if (message.job) {
    take_in(served, std::move(*message.job), message.place, message.ownership == ownership_);
  }
  if (!claim_is_out()) early_cancels_.clear();
}

// A claim that was under way when ownership was lost may be of the old ownership or of the new: its
// jobs are given back, which does the right thing for either.
void Intake::take_in(ServedModel& served, Job claimed, LotPlace place, bool still_ours) {
  ++served.counters.claimed;
  if (place == LotPlace::small) ++served.counters.claimed_small;
  if (place == LotPlace::awaited) ++served.counters.claimed_awaited;
  const bool cancelled = cancelled_before_it_came(claimed);
  InFlight& job = table_.add(served, std::move(claimed), place);
  if (cancelled) {
    finisher_.end(job, stopped_by_cancel());
  } else if (closed_ || !still_ours || served.leaving) {
    finisher_.release(job, false, std::nullopt);
  } else {
    prepare(job);
  }
}

// --- preparing and parking

void Intake::prepare(InFlight& job) {
  auto task = [in = inbox_, port = job.served->port, claimed = job.job, ticket = job.ticket] {
    in->push(Prepared{ticket, guarded<PreparedJob>([&] { return port->prepare(*claimed); })});
  };
  // Refused only when the process is stopping; then the claim dies with it.
  if (!run_blocking_(std::move(task))) log_warn("job.not_prepared", {{"id", job.job->id}});
}

void Intake::handle(Prepared message) {
  InFlight* job = table_.find(message.ticket);
  // Cancelled, too late, lost or given back meanwhile.
  if (job == nullptr || job->phase != LivePhase::preparing) return;
  if (message.prepared.ok()) {
    park(*job, std::move(message.prepared).value());
  } else {
    finisher_.fail_run(*job, message.prepared.status(), nullptr);
  }
}

ParkingLot& Intake::lot_for(const InFlight& job) const {
  ServedModel& served = *job.served;
  const uint64_t group = job.job->suspect_group;
  if (group == 0) return *served.lot;
  return served.suspects.try_emplace(group, served.lot->limits()).first->second;
}

void Intake::park(InFlight& job, PreparedJob prepared) {
  ServedModel& served = *job.served;
  GenerationRequest& request = prepared.request;
  std::vector<PromptNeed> needs = needs_of(request.prompts);
  int64_t tokens_of_all = 0;
  job.max_new_tokens = 0;
  for (const PromptNeed& need : needs) {
    PARKD_CHECK(need.prompt_tokens > 0 && need.max_new_tokens > 0,
                "a prepared job with a prompt that asks for nothing");
    tokens_of_all += int64_t{need.prompt_tokens} + need.max_new_tokens;
    job.max_new_tokens = std::max(job.max_new_tokens, need.max_new_tokens);
  }
  PARKD_CHECK(!needs.empty() && request.n_choices > 0, "a prepared job that asks for nothing");
  job.prompt_tokens = prompt_tokens_of(request);
  job.sequences = n_sequences_of(request);
  job.sampling = request.sampling;
  job.sampling.logit_bias.clear();
  job.cost = job_cost(request.n_choices, needs, served.port->block_size);
  const PoolPart largest = largest_of(served.port->parts);
  const Status fits = fits_at_all({served.name, request.n_choices, std::move(needs),
                                   served.port->block_size, largest.blocks, largest.sequences,
                                   prepared.prompt_field, prepared.max_tokens_field});
  if (!fits.ok()) return finisher_.end(job, too_large_ending(fits));
  const int64_t need_tokens = request.n_choices * tokens_of_all;
  job.request = std::move(request);
  job.request.id = job.ticket;
  lot_for(job).park({.ticket = job.ticket,
                     .id = job.job->id,
                     .critical = job.job->spec.priority == Priority::critical,
                     .tenant = job.job->spec.tenant,
                     .order_key = job.job->order_key,
                     .cost = job.cost,
                     .need_tokens = need_tokens,
                     .sequences = job.sequences,
                     .weight = job.job->weight,
                     .awaited = awaited_.contains(job.job->id)});
  table_.move_to(job, LivePhase::parked);
}

// --- starting

void Intake::admit() {
  if (!is_open()) return;
  for (auto& [name, served] : table_.served_models()) {
    if (!served.is_open()) continue;
    if (const auto group = next_group()) admit(served, *group);
    if (served.jobs_in(LivePhase::parked) > 0) log_parked(served);
  }
}

void Intake::admit(ServedModel& served, uint64_t group) {
  ParkingLot* lot = served.lot_of(group);
  if (lot == nullptr) return;
  const SteadyTime now = clock_.steady_now();
  if (group == 0) lot->expect(served.places.tenants());
  while (auto admission = lot->admit_next(*served.pool, now)) {
    if (admission->charge.uses_reserve()) ++served.counters.started_of_kept;
    if (admission->passed_held) served.counters.passed_units += admission->job.cost.count;
    runs_.start(*table_.find(admission->job.ticket), std::move(admission->charge));
  }
  if (group != 0 && lot->empty()) served.suspects.erase(group);
}

// Which suspect group may start now (0: jobs that are not suspects); empty: none. Suspects go
// first, one group after the other, each when the engines are empty; what is not a suspect starts
// no more once one is parked, so that the engines become empty.
std::optional<uint64_t> Intake::next_group() const {
  const auto running = runs_.group();
  if (running && *running != 0) return running;
  for (const auto& [name, served] : table_.served_models()) {
    if (served.suspects.empty()) continue;
    return running ? std::nullopt : std::optional(served.suspects.begin()->first);
  }
  return 0;
}

// A job that starts at its first look is not worth a line.
void Intake::log_parked(const ServedModel& served) {
  for (auto& [ticket, job] : table_.jobs()) {
    if (job.phase != LivePhase::parked || job.served != &served || job.parking_logged) continue;
    job.parking_logged = true;
    log_info("job.parked", {{"id", job.job->id},
                            {"model", served.name},
                            {"blocks", job.cost.count},
                            {"blocks_free", served.pool->free().count},
                            {"sequences_free", served.pool->free_sequences()}});
  }
}

bool Intake::give_back() {
  if (!is_open()) return false;
  bool gave = false;
  for (auto& [name, served] : table_.served_models()) {
    while (served.is_open() && served.places.free() < served.places_wanted) {
      InFlight* job = next_to_give_back(served);
      if (job == nullptr) break;
      table_.leave_lot(*job);
      finisher_.release(*job, false, std::nullopt);
      ++served.counters.given_back;
      gave = true;
    }
  }
  return gave;
}

// The latest in order of the tenant with the most places; one that is prepared comes later.
InFlight* Intake::next_to_give_back(const ServedModel& served) {
  for (const std::string& tenant : who_gives_back(served.places)) {
    if (const auto ticket = served.lot->last_of(tenant)) return table_.find(*ticket);
  }
  return nullptr;
}

// --- closing, losing

void Intake::close() {
  closed_ = true;
  finisher_.release_waiting(nullptr);
}

void Intake::lose_ownership() {
  ++ownership_;
  auto& jobs = table_.jobs();
  for (auto next = jobs.begin(); next != jobs.end();) {
    InFlight& job = next->second;
    ++next;  // drop() erases it
    if (job.phase == LivePhase::parked) table_.leave_lot(job);
    if (job.phase == LivePhase::parked || job.phase == LivePhase::preparing) finisher_.drop(job);
  }
  for (auto& [name, served] : table_.served_models()) served.work_hint = true;
}

}  // namespace parkd
