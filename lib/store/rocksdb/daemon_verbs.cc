#include "lib/store/rocksdb/daemon_verbs.h"

#include <map>
#include <set>
#include <utility>

#include "lib/base/kill_point.h"
#include "lib/base/log.h"
#include "lib/store/rocksdb/job_end.h"
#include "lib/store/rules.h"

namespace parkd::embedded {
namespace {

Result<FinishAnswer> answer_without_claim(const State& state, const FinishItem& item) {
  if (state.index.contains(item.id) || item.lease == RunLease{}) return FinishAnswer::lease_lost;
  const Result<record::StoredHistory> history = state.read_history(item.id);
  if (history.ok()) {
    if (history->lease != item.lease) return FinishAnswer::lease_lost;
    return finish_answer(FinishAnswer::already_by_this_lease, item.ending.outcome,
                         history->row.outcome);
  }
  if (is_not_found(history.status())) return FinishAnswer::lease_lost;
  return history.status();
}

}  // namespace

// --- claim

void claim(State& state, const ClaimRequest& request, const Completion<std::vector<Job>>& done) {
  if (const Status& usable = state.usable(); !usable.ok()) {
    done(usable);
    return;
  }
  std::vector<JobId> ids;
  try {
    const WallTime now = state.clock.now();
    std::vector<Job> jobs;
    ids = state.index.claim(request, now);
    for (const JobId id : ids) {
      state.claims[id] = {{state.open_epoch, ++state.n_claims}, now, false};
      Result<Job> job = state.read_whole_job(id, now);
      if (!job.ok()) {
        // It stays claimed, without an owner: an operator must look, and the queue goes on behind
        // it.
        log_error("store.job_unreadable", {{"id", id}, {"error", job.status().to_string()}});
        state.database->note_damage("job " + std::to_string(id) + ": " + job.status().message());
        continue;
      }
      jobs.push_back(std::move(job).value());
    }
    PARKD_KILL_POINT("claim.after");
    done(std::move(jobs));
  } catch (...) {
    for (const JobId id : ids) state.claims.erase(id);  // they have no owner
    state.failure.tear();
    throw;
  }
}

// --- finish

bool finish(State& state, std::vector<FinishItem>& items,
            const Completion<std::vector<FinishAnswer>>& done, Commit& commit) {
  const WallTime now = state.clock.now();
  for (const FinishItem& item : items) {
    if (commit.touched_jobs.contains(item.id)) return false;
  }
  std::vector<FinishAnswer> answers;
  std::vector<Ended> all_ended;
  std::map<JobId, std::pair<RunLease, Outcome>> ended_here;  // and what was written
  for (FinishItem& item : items) {
    const Outcome given = item.ending.outcome;
    const auto twin = ended_here.find(item.id);
    if (twin != ended_here.end()) {
      const auto& [lease, written] = twin->second;
      answers.push_back(lease == item.lease
                            ? finish_answer(FinishAnswer::already_by_this_lease, given, written)
                            : FinishAnswer::lease_lost);
      continue;
    }
    if (!state.holds_lease(item.id, item.lease)) {
      const Result<FinishAnswer> answer = answer_without_claim(state, item);
      if (!answer.ok()) {
        done(answer.status());
        return true;
      }
      answers.push_back(*answer);
      continue;
    }
    Result<Ended> ended = prepare_end(state, item.id, item.lease, std::move(item.ending), now);
    if (!ended.ok()) {
      done(ended.status());
      return true;
    }
    const Outcome written = ended->message.ending.outcome;
    answers.push_back(finish_answer(FinishAnswer::finished_now, given, written));
    all_ended.push_back(std::move(ended).value());
    ended_here[item.id] = {item.lease, written};
  }

  for (const Ended& ended : all_ended) write_end(state, ended, now, commit);
  commit.has_finish = true;
  commit.steps.push_back({[&state, ended_here] {
                            for (const auto& [id, end] : ended_here) apply_end(state, id);
                          },
                          [done, answers = std::move(answers)](const Status& status) {
                            succeed_with(done, answers, status);
                          }});
  return true;
}

// --- release

bool release(State& state, const std::vector<ReleaseItem>& items,
             const Completion<std::vector<ReleaseAnswer>>& done, Commit& commit) {
  const WallTime now = state.clock.now();
  for (const ReleaseItem& item : items) {
    if (commit.touched_jobs.contains(item.id)) return false;
  }
  std::vector<ReleaseAnswer> answers;
  std::vector<Ended> all_ended;              // cancelled while claimed
  std::vector<record::StoredJob> rewritten;  // attempts or run_at changed
  std::map<JobId, ReleaseItem> released;
  for (const ReleaseItem& item : items) {
    const bool ours = state.holds_lease(item.id, item.lease) && !released.contains(item.id);
    answers.push_back(ours ? ReleaseAnswer::released : ReleaseAnswer::lease_lost);
    if (!ours) continue;
    released[item.id] = item;
    const bool is_cancelled = state.claims.at(item.id).cancel_requested;
    if (!is_cancelled && !item.spend_attempt && !item.run_at) continue;  // nothing on disk changes
    Result<Ended> ended = prepare_end(state, item.id, {}, cancelled_ending(), now);
    if (!ended.ok()) {
      done(ended.status());
      return true;
    }
    if (item.spend_attempt) {
      clear_poison_notes(ended->stored.job);
      ++ended->stored.job.attempts;
      ++ended->message.attempts;
    }
    if (item.run_at) ended->stored.job.spec.run_at = item.run_at;
    if (is_cancelled) {
      all_ended.push_back(std::move(ended).value());
    } else {
      rewritten.push_back(std::move(ended->stored));
    }
  }

  commit.begin(0);
  commit.unclaimed.reserve(commit.unclaimed.size() + released.size());
  for (const auto& [id, item] : released) commit.unclaimed.push_back(id);
  std::set<JobId> ended_ids;
  for (const Ended& ended : all_ended) {
    write_end(state, ended, now, commit);
    ended_ids.insert(ended.message.job_id);
  }
  for (const record::StoredJob& stored : rewritten) put_job(state, stored, commit);
  for (const auto& [id, item] : released) commit.touched_jobs.insert(id);
  commit.has_release = true;
  commit.steps.push_back(
      {[&state, released = std::move(released), ended_ids = std::move(ended_ids), &commit] {
         const WallTime then = state.clock.now();
         for (const auto& [id, item] : released) {
           if (!item.spend_attempt) state.index.uncharge(id);
           if (ended_ids.contains(id)) {
             apply_end(state, id);
             continue;
           }
           state.index.release(id, item.run_at, then);
           if (state.index.state_of(id) == JobState::queued) {
             commit.wakeups.models.insert(state.index.model_of(id));
           }
         }
       },
       [done, answers = std::move(answers)](const Status& status) {
         succeed_with(done, answers, status);
       }});
  return true;
}

// --- deaths

bool note_deaths(State& state, const DeathReport& report, const Completion<DeathsAnswer>& done,
                 Commit& commit) {
  const WallTime now = state.clock.now();
  std::map<JobId, Ended> named;  // live jobs of the report, and how they would end
  for (const DeathNote& note : report.present) {
    if (commit.touched_jobs.contains(note.id)) return false;
    if (!state.index.contains(note.id) || named.contains(note.id)) continue;
    Result<Ended> ended = prepare_end(state, note.id, {}, quarantined_ending(), now);
    if (!ended.ok()) {
      done(ended.status());
      return true;
    }
    named.emplace(note.id, std::move(ended).value());
  }
  std::vector<Job*> live;
  live.reserve(named.size());
  for (auto& [id, ended] : named) live.push_back(&ended.stored.job);
  const DeathVerdict verdict = judge_death(report, live);
  commit.begin(0);
  for (const JobId id : verdict.changed) {
    put_job(state, named.at(id).stored, commit);
    commit.touched_jobs.insert(id);
  }
  for (const JobId id : verdict.quarantined) {
    if (!state.claims.contains(id)) state.index.hold(id);
    write_end(state, named.at(id), now, commit);
  }
  const DeathsAnswer answer{static_cast<int64_t>(verdict.suspects.size()),
                            static_cast<int64_t>(verdict.quarantined.size())};
  commit.steps.push_back(
      {[&state, ids = verdict.quarantined] {
         for (const JobId id : ids) apply_end(state, id);
       },
       [done, answer](const Status& status) { succeed_with(done, answer, status); }});
  return true;
}

}  // namespace parkd::embedded
