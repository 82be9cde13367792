// How commits are made, written and settled, and what becomes of exceptions on the way.
#include "lib/store/rocksdb/commit_loop.h"

#include <chrono>
#include <cstdlib>
#include <new>
#include <thread>
#include <vector>

#include "lib/base/kill_point.h"
#include "lib/base/log.h"
#include "lib/store/rocksdb/job_end.h"
#include "lib/store/wakeups.h"

namespace parkd::embedded {
namespace {

constexpr size_t kCommitVerbsMax = 1024;
constexpr size_t kWriteOverheadBytes = size_t{4} << 20;  // a block of a memtable's arena, and more
constexpr std::chrono::milliseconds kMemoryPause{10};
constexpr int kAnswerTries = 5;

void wait_for_memory() {
  std::this_thread::sleep_for(kMemoryPause);
}

// `act` again, after pauses, while it throws: it wants little memory, and a caller waits for it.
// `tries_max` 0: without end. The last exception's status.
template <class Act>
Status insist(const char* where, int tries_max, Act&& act) noexcept {
  Status tried = caught(where, act);
  for (int n = 1; !tried.ok() && (tries_max == 0 || n < tries_max); ++n) {
    wait_for_memory();
    tried = caught(where, act);
  }
  return tried;
}

// What became of a verb that was to be added to a commit.
enum class Added {
  whole,
  must_wait,  // for the next commit, or go on in it
  left_out,   // it threw before it changed anything
  half_way,   // it threw behind that: the commit is lost
};

// `failed`: what it threw.
template <class Verb>
Added add_verb(const Commit& commit, Status& failed, Verb&& verb) {
  const size_t n_begun = commit.n_begun;
  const auto n_rows = commit.batch.Count();
  bool was_added = true;
  failed = caught("verb", [&] { was_added = verb(); });
  if (failed.ok()) return was_added ? Added::whole : Added::must_wait;
  const bool is_left_out = commit.n_begun == n_begun && commit.batch.Count() == n_rows;
  return is_left_out ? Added::left_out : Added::half_way;
}

}  // namespace

// --- any thread

void CommitLoop::start() {
  {
    const std::lock_guard lock(accepting_mutex_);
    accepting_ = true;
  }
  sync_thread_ = Thread({"store-sync", 0}, [this] { sync_loop(); });
  state_thread_ = Thread({"store", 0}, [this] { state_loop(); });
}

void CommitLoop::stop() {
  const std::lock_guard one_at_a_time(stop_mutex_);
  {
    const std::lock_guard lock(accepting_mutex_);
    if (!accepting_) return;
    accepting_ = false;
    Request request;
    request.is_stop = true;
    inbox_.push(std::move(request));
  }
  state_thread_.join();
  to_sync_.close();
  sync_thread_.join();
  state_.database.reset();
}

void CommitLoop::push(Request request) {
  {
    const std::lock_guard lock(accepting_mutex_);
    if (accepting_) {
      inbox_.push(std::move(request));
      return;
    }
  }
  request.refuse(unavailable("the store has stopped"));
}

// --- sync thread

void CommitLoop::sync_loop() {
  for (;;) {
    const std::vector<Commit*> commits = to_sync_.wait_all();
    if (commits.empty()) return;  // closed
    for (Commit* commit : commits) {
      sync_one(*commit);
      (void)insist("sync", 0, [this] {
        Request settled;
        settled.is_settled = true;
        inbox_.push(std::move(settled));
      });
    }
  }
}

void CommitLoop::sync_one(Commit& commit) {
  commit.written = caught("write", [&] {
    commit.dropped.reserve(commit.expired.size());
    ::operator delete(::operator new(2 * commit.batch.GetDataSize() + kWriteOverheadBytes));
  });
  if (!commit.written.ok()) return;
  commit.was_handed_over = true;
  const Status survived = caught("write", [&] {
    if (commit.batch.Count() > 0) commit.written = state_.database->write(&commit.batch);
    if (commit.has_purge) PARKD_KILL_POINT("purge.mid");
    for (const Period& period : commit.expired) {
      if (commit.written.ok() && state_.database->drop(period).ok()) {
        commit.dropped.push_back(period.name);
      }
    }
  });
  if (survived.ok()) return;
  (void)caught("write", [] {
    log_error("store.write_threw", {{"what", "the process ends and recovers as after a crash"}});
  });
  std::abort();
}

// --- state thread

void CommitLoop::state_loop() {
  if (has_writes()) build_commit();  // jobs whose cancel was asked for before the restart
  while (!stopping_ || under_way_ != nullptr || !waiting_.empty()) {
    std::vector<Request> requests = inbox_.wait_all();
    if (!state_.failure.is_torn() &&
        !caught("promote", [this] { state_.promote_due(state_.clock.now()); }).ok()) {
      state_.failure.tear();
    }
    for (Request& request : requests) {
      mend();
      handle(request);
    }
    while (has_writes() && under_way_ == nullptr) build_commit();
    mend();
  }
}

// Reads the state again if it is torn and may be read now.
void CommitLoop::mend() {
  if (state_.failure.is_torn()) (void)state_.usable();
}

void CommitLoop::handle(Request& request) {
  if (request.is_stop) {
    stopping_ = true;
  } else if (request.is_settled) {
    const std::unique_ptr<Commit> commit = take_back();
    settle(*commit);
  } else {
    const Status handled = caught(
        "verb", [&] { request.read ? request.read() : waiting_.push_back(std::move(request)); });
    if (!handled.ok()) refuse(request, handled);
  }
}

void CommitLoop::refuse(const Request& request, const Status& why) {
  if (!request.refuse) return;
  if (insist("refusal", kAnswerTries, [&] { request.refuse(why); }).ok()) return;
  (void)insist("refusal", 0, [&] { request.refuse(out_of_memory()); });
}

void CommitLoop::build_commit() {
  if (const Status& usable = state_.usable(); !usable.ok()) return refuse_all(usable);
  std::unique_ptr<Commit> commit;
  (void)insist("commit", 0, [&] { commit = std::make_unique<Commit>(); });
  bool is_whole = add_verbs(*commit);
  if (is_whole) is_whole = caught("commit", [&] { write_common_rows(*commit); }).ok();
  if (is_whole && commit->is_empty()) return settle(*commit);
  if (is_whole) {
    if (commit->has_submit) PARKD_KILL_POINT("submit.before_commit");
    if (commit->has_finish) PARKD_KILL_POINT("finish.before_commit");
    under_way_ = std::move(commit);
    state_.is_lent = true;
    if (caught("commit", [&] { to_sync_.push(under_way_.get()); }).ok()) return;
    commit = take_back();
  }
  state_.failure.tear();
  complete(*commit, out_of_memory());
}

std::unique_ptr<Commit> CommitLoop::take_back() {
  state_.is_lent = false;
  return std::move(under_way_);
}

void CommitLoop::refuse_all(const Status& why) {
  for (; !waiting_.empty(); waiting_.pop_front()) refuse(waiting_.front(), why);
  state_.must_end_flagged = false;  // healing finds them again
}

// False: a verb stopped half-way, and the commit is lost. Those that must wait stay in front.
bool CommitLoop::add_verbs(Commit& commit) {
  Status failed;
  if (std::exchange(state_.must_end_flagged, false)) {
    const auto end_them = [&] {
      end_flagged(state_, commit);
      return true;
    };
    if (add_verb(commit, failed, end_them) == Added::half_way) return false;
  }
  size_t n_deferred = 0;
  for (size_t n = 0; n_deferred < waiting_.size() && n < kCommitVerbsMax; ++n) {
    if (commit.is_full()) break;
    const auto request = waiting_.begin() + static_cast<std::ptrdiff_t>(n_deferred);
    const Added added = add_verb(commit, failed, [&] { return request->write(commit); });
    if (added == Added::must_wait) {
      ++n_deferred;
      continue;
    }
    if (added != Added::whole) refuse(*request, failed);
    waiting_.erase(request);
    if (added == Added::half_way) return false;
  }
  return true;
}

// Those that are of no single verb.
void CommitLoop::write_common_rows(Commit& commit) {
  state_.write_batches(commit);
  if (commit.is_empty()) return;
  for (const auto& [name, change] : commit.n_messages_change) {
    const int64_t n = state_.database->find_period(name)->n_messages + change;
    (void)commit.batch.Put(state_.database->meta(), period_count_key(name),
                           record::encode_count(static_cast<uint64_t>(n)));
  }
}

// A verb whose answer cannot be made is told so: what it did stands.
void CommitLoop::complete(const Commit& commit, const Status& status) {
  for (const Commit::Step& step : commit.steps) {
    if (!step.complete) continue;
    if (insist("answer", kAnswerTries, [&] { step.complete(status); }).ok()) continue;
    (void)insist("answer", 0, [&] { step.complete(out_of_memory()); });
  }
}

void CommitLoop::settle(Commit& commit) {
  if (!commit.written.ok()) {
    StoreFailure& failure = state_.failure;
    if (!commit.was_handed_over) {
      failure.tear();
      return complete(commit, out_of_memory());
    }
    if (!caught("failure", [&] { failure.fail(commit.written); }).ok()) failure.tear_and_reopen();
    return complete(commit, failure.status());
  }
  if (!commit.is_empty()) {
    ++state_.n_commits;
    if (state_.testing.sync_commits) ++state_.n_syncs;
  }
  if (commit.has_submit) PARKD_KILL_POINT("submit.after_commit");
  if (commit.has_finish) PARKD_KILL_POINT("finish.after_commit");
  if (commit.has_cancel) PARKD_KILL_POINT("cancel.after_commit");
  if (commit.has_release) PARKD_KILL_POINT("release.after_commit");
  for (const auto& [name, change] : commit.n_messages_change) {
    state_.database->find_period(name)->n_messages += change;
  }
  for (const std::string& name : commit.dropped) state_.database->forget(name);
  for (const JobId id : commit.unclaimed) state_.claims.erase(id);
  if (!state_.failure.is_torn() && !caught("apply", [&] { apply(commit); }).ok()) {
    state_.failure.tear();
  }
  // Who is not told finds out when it looks again.
  (void)insist("wakeups", kAnswerTries, [&] {
    tell(state_.observer, commit.wakeups);
    if (state_.has_outbox() && !commit.wakeups.messages.empty()) state_.options.outbox_filled();
  });
  complete(commit, {});
}

void CommitLoop::apply(Commit& commit) {
  state_.apply_batches(commit);
  for (const Commit::Step& step : commit.steps) {
    if (step.apply) step.apply();
  }
}

}  // namespace parkd::embedded
