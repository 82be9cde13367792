#include "lib/dispatch/intake.h"

#include <algorithm>
#include <iterator>
#include <set>
#include <string>
#include <utility>

#include "lib/base/check.h"
#include "lib/base/log.h"
#include "lib/base/text.h"
#include "lib/dispatch/claim_plan.h"
#include "lib/dispatch/endings.h"
#include "lib/pool/price.h"

namespace parkd {

Intake::Intake(const DispatcherOptions& options, JobStore& store, Clock& clock,
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

void Intake::handle(WorkAvailable message) {
  const auto found = table_.desks().find(message.model);
  if (found == table_.desks().end()) return;
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
  const auto found = table_.desks().find(message.model);
  if (found == table_.desks().end()) return;
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
  for (auto& [name, desk] : table_.desks()) {
    desk.work_hint = true;
    desk.none_this_small.reset();
  }
  return true;
}

SteadyTime Intake::next_due() const {
  SteadyTime due = next_poll_;
  if (!is_open()) return due;
  for (const auto& [name, desk] : table_.desks()) {
    if (may_claim(desk)) due = std::min(due, desk.claim_not_before);
  }
  return due;
}

// Where the jobs of a claim wait.
LotPlace Intake::place_of(const ClaimRequest& claim) {
  if (!claim.only.empty()) return LotPlace::awaited;
  return claim.need_tokens_max ? LotPlace::small : LotPlace::lot;
}

// Endings the store does not take must not pile up without bound while it still gives out jobs.
int32_t Intake::claimable(const Desk& desk) {
  return 4 * (desk.port->lot_places + desk.port->sequences_max) - desk.jobs_in_flight();
}

int32_t Intake::free_places(const Desk& desk) {
  return std::min(desk.places.free(), claimable(desk));
}

bool Intake::may_claim(const Desk& desk) const {
  if (desk.state != ModelState::ready || desk.claiming > 0) return false;
  return next_claim(desk).has_value();
}

std::optional<ClaimRequest> Intake::next_claim(const Desk& desk) const {
  if (auto claim = claim_of_awaited(desk)) return claim;
  const int32_t places = free_places(desk);
  if (places > 0 && (desk.work_hint || is_worth_asking(desk.places, places))) {
    return plan_claim(desk.name, desk.places, places);
  }
  return small_claim(desk);
}

// Nothing is kept for them where nothing is: they come in their turn.
std::optional<ClaimRequest> Intake::claim_of_awaited(const Desk& desk) const {
  if (desk.wanted.empty() || desk.pool->sequences().reserve() == 0) return std::nullopt;
  const int32_t places =
      std::min(kAwaitedPlaces - desk.waiting_in(LotPlace::awaited), claimable(desk));
  if (places <= 0) return std::nullopt;
  ClaimRequest claim{desk.name, std::min(places, static_cast<int32_t>(desk.wanted.size()))};
  claim.only.assign(desk.wanted.begin(), std::next(desk.wanted.begin(), claim.max_jobs));
  return claim;
}

// Nothing that is parked fits, and something smaller might: so that it does not wait in the queue
// behind a lot full of larger jobs.
std::optional<ClaimRequest> Intake::small_claim(const Desk& desk) const {
  if (desk.lot->empty() || !desk.suspects.empty()) return std::nullopt;
  if (desk.places.hungry.empty() && !desk.work_hint) return std::nullopt;  // the queue is empty
  const Blocks units = desk.lot->room_past_held(*desk.pool, clock_.steady_now());
  const int64_t tokens = units.count * desk.port->block_size;
  const int32_t places = std::min(kSmallPlaces - desk.waiting_in(LotPlace::small), claimable(desk));
  if (places <= 0 || tokens <= desk.none_this_small.value_or(0)) return std::nullopt;
  ClaimRequest claim{desk.name, places};
  claim.need_tokens_max = tokens;
  return claim;
}

bool Intake::claim_more() {
  if (!is_open()) return false;
  bool asked = false;
  const SteadyTime now = clock_.steady_now();
  for (auto& [name, desk] : table_.desks()) {
    if (!may_claim(desk) || now < desk.claim_not_before) continue;
    desk.claim = *next_claim(desk);
    switch (place_of(desk.claim)) {
      case LotPlace::awaited:
        for (const JobId id : desk.claim.only) desk.wanted.erase(id);
        break;
      case LotPlace::small:
        desk.none_this_small = desk.claim.need_tokens_max;  // unless there is news meanwhile
        break;
      case LotPlace::lot:
        desk.work_hint = false;
        break;
    }
    desk.claiming = desk.claim.max_jobs;
    asked = true;
    store_.claim(desk.claim, [in = inbox_, model = name,
                              ownership = ownership_](Result<std::vector<Job>> jobs) {
      in->push(Claimed{model, ownership, std::move(jobs)});
    });
  }
  return asked;
}

bool Intake::claim_is_out() const {
  return std::any_of(table_.desks().begin(), table_.desks().end(),
                     [](const auto& entry) { return entry.second.claiming > 0; });
}

void Intake::handle(Claimed message) {
  Desk& desk = table_.desks().at(message.model);
  const int32_t asked = std::exchange(desk.claiming, 0);
  if (!message.jobs.ok()) {
    claim_failed(desk, message.jobs.status());
  } else {
    desk.claim_retry_delay = Micros(0);
    PARKD_CHECK(static_cast<int32_t>(message.jobs->size()) <= asked,
                "a store gave more jobs than it was asked for");
    Came came;
    for (Job& job : *message.jobs) {
      ++came[job.spec.tenant];
      take_in(desk, std::move(job), message.ownership == ownership_);
    }
    note_answer(desk, came);
  }
  if (!claim_is_out()) early_cancels_.clear();
}

// What the answer of the desk's claim says of the queue.
void Intake::note_answer(Desk& desk, const Came& came) {
  if (place_of(desk.claim) == LotPlace::awaited) return;  // nothing
  int32_t n_jobs = 0;
  for (const auto& [tenant, n] : came) n_jobs += n;
  const bool small = desk.claim.need_tokens_max.has_value();
  if (n_jobs < desk.claim.max_jobs) {
    // A full lot asks at each news of the tenants that fill it, for one that has none or for small
    // jobs: not each time.
    const bool in_vain = n_jobs == 0 && (small || desk.claim.others_room.has_value());
    const Micros pause =
        in_vain && options_.claim_pause_per_job.count() > 0
            ? options_.claim_pause_max
            : std::min(n_jobs * options_.claim_pause_per_job, options_.claim_pause_max);
    desk.claim_not_before = clock_.steady_now() + pause;
  } else if (small) {
    desk.none_this_small.reset();
  } else {
    desk.work_hint = true;
  }
  if (small) return;
  desk.places.hungry = hungry_after(desk.claim, came, desk.places.hungry);
  desk.places_wanted = places_wanted(desk.places, came);
}

void Intake::claim_failed(Desk& desk, const Status& why) {
  desk.work_hint = true;
  desk.none_this_small.reset();
  for (const JobId id : desk.claim.only) {
    if (awaited_.contains(id)) desk.wanted.insert(id);
  }
  desk.claim_retry_delay = std::clamp<Micros>(desk.claim_retry_delay * 2, options_.store_retry_min,
                                              options_.store_retry_max);
  desk.claim_not_before = clock_.steady_now() + desk.claim_retry_delay;
  log_warn("store.retry", {{"verb", "claim"},
                           {"model", desk.name},
                           {"error", why.to_string()},
                           {"retry_ms", desk.claim_retry_delay.count() / 1000}});
}

void Intake::note_cancel(const CancelRequested& cancel) {
  if (claim_is_out()) early_cancels_.push_back(cancel);
}

bool Intake::cancelled_before_it_came(const Job& job) const {
  return std::any_of(early_cancels_.begin(), early_cancels_.end(), [&](const CancelRequested& c) {
    return c.id == job.id && c.lease == job.lease;
  });
}

// A claim that was under way when ownership was lost may be of the old ownership or of the new: its
// jobs are given back, which does the right thing for either.
void Intake::take_in(Desk& desk, Job claimed, bool still_ours) {
  const LotPlace place = place_of(desk.claim);
  ++desk.counters.claimed;
  if (place == LotPlace::small) ++desk.counters.claimed_small;
  if (place == LotPlace::awaited) ++desk.counters.claimed_awaited;
  const bool cancelled = cancelled_before_it_came(claimed);
  InFlight& job = table_.add(desk, std::move(claimed), place);
  if (cancelled) {
    finisher_.end(job, stopped_by_cancel());
  } else if (closed_ || !still_ours) {
    finisher_.release(job, false, std::nullopt);
  } else {
    prepare(job);
  }
}

// --- preparing and parking

void Intake::prepare(InFlight& job) {
  auto task = [in = inbox_, port = job.desk->port, claimed = job.job, ticket = job.ticket] {
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
  Desk& desk = *job.desk;
  const uint64_t group = job.job->suspect_group;
  if (group == 0) return *desk.lot;
  return desk.suspects.try_emplace(group, desk.lot->limits()).first->second;
}

void Intake::park(InFlight& job, PreparedJob prepared) {
  Desk& desk = *job.desk;
  GenerationRequest& request = prepared.request;
  PARKD_CHECK(!request.prompt.empty() && request.max_new_tokens > 0 && request.n_choices > 0,
              "a prepared job that asks for nothing");
  job.prompt_tokens = static_cast<int32_t>(request.prompt.size());
  job.max_new_tokens = request.max_new_tokens;
  job.sequences = request.n_choices;
  job.logprobs = request.sampling.logprobs;
  const Status fits = fits_at_all({desk.name, job.sequences, job.prompt_tokens, job.max_new_tokens,
                                   desk.port->block_size, desk.pool->capacity_of_largest(),
                                   desk.port->sequences_max});
  if (!fits.ok()) return finisher_.end(job, too_large_ending(fits));
  job.cost = job_cost(job.sequences, job.prompt_tokens, job.max_new_tokens, desk.port->block_size);
  job.request = std::move(request);
  job.request.id = job.ticket;
  lot_for(job).park(
      {.ticket = job.ticket,
       .id = job.job->id,
       .critical = job.job->spec.priority == Priority::critical,
       .tenant = job.job->spec.tenant,
       .order_key = job.job->order_key,
       .cost = job.cost,
       .need_tokens = int64_t{job.sequences} * (job.prompt_tokens + job.max_new_tokens),
       .sequences = job.sequences,
       .weight = job.job->weight,
       .awaited = awaited_.contains(job.job->id)});
  table_.move_to(job, LivePhase::parked);
}

// --- starting

void Intake::admit() {
  if (!is_open()) return;
  for (auto& [name, desk] : table_.desks()) {
    if (desk.state != ModelState::ready) continue;
    if (const auto group = next_group()) admit(desk, *group);
    if (desk.jobs_in(LivePhase::parked) > 0) log_parked(desk);
  }
}

void Intake::admit(Desk& desk, uint64_t group) {
  ParkingLot* lot = desk.lot_of(group);
  if (lot == nullptr) return;
  const SteadyTime now = clock_.steady_now();
  if (group == 0) lot->expect(desk.places.tenants());
  while (auto admission = lot->admit_next(*desk.pool, now)) {
    if (admission->charge.uses_reserve()) ++desk.counters.started_of_kept;
    if (admission->passed_held) desk.counters.passed_units += admission->job.cost.count;
    runs_.start(*table_.find(admission->job.ticket), std::move(admission->charge));
  }
  if (group != 0 && lot->empty()) desk.suspects.erase(group);
}

// Which suspect group may start now (0: jobs that are no suspects); empty: nobody. Suspects go
// first, one group after the other, each when the engines are empty; what is no suspect starts no
// more once one is parked, so that the engines become empty.
std::optional<uint64_t> Intake::next_group() const {
  const auto running = runs_.group();
  if (running && *running != 0) return running;
  for (const auto& [name, desk] : table_.desks()) {
    if (desk.suspects.empty()) continue;
    return running ? std::nullopt : std::optional(desk.suspects.begin()->first);
  }
  return 0;
}

// A job that starts at its first look is not worth a line.
void Intake::log_parked(const Desk& desk) {
  for (auto& [ticket, job] : table_.jobs()) {
    if (job.phase != LivePhase::parked || job.desk != &desk || job.parking_logged) continue;
    job.parking_logged = true;
    log_info("job.parked", {{"id", job.job->id},
                            {"model", desk.name},
                            {"blocks", job.cost.count},
                            {"blocks_free", desk.pool->free().count},
                            {"sequences_free", desk.pool->free_sequences()}});
  }
}

bool Intake::give_back() {
  if (!is_open()) return false;
  bool gave = false;
  for (auto& [name, desk] : table_.desks()) {
    while (desk.state == ModelState::ready && desk.places.free() < desk.places_wanted) {
      InFlight* job = next_to_give_back(desk);
      if (job == nullptr) break;
      table_.leave_lot(*job);
      finisher_.release(*job, false, std::nullopt);
      ++desk.counters.given_back;
      gave = true;
    }
  }
  return gave;
}

// The latest in order of the tenant with the most places; one that is prepared comes later.
InFlight* Intake::next_to_give_back(const Desk& desk) {
  for (const std::string& tenant : who_gives_back(desk.places)) {
    if (const auto ticket = desk.lot->last_of(tenant)) return table_.find(*ticket);
  }
  return nullptr;
}

// --- closing, losing

void Intake::close() {
  closed_ = true;
  for (auto& [ticket, job] : table_.jobs()) {
    if (job.phase == LivePhase::parked) {
      table_.leave_lot(job);
    } else if (job.phase != LivePhase::preparing) {
      continue;
    }
    finisher_.release(job, false, std::nullopt);
  }
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
  for (auto& [name, desk] : table_.desks()) desk.work_hint = true;
}

}  // namespace parkd
