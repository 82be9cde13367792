// How commits are made, written and settled, and what becomes of exceptions on the way.
#include <algorithm>
#include <cstdlib>
#include <new>
#include <thread>
#include <utility>

#include "lib/base/kill_point.h"
#include "lib/base/log.h"
#include "lib/store/rocksdb/embedded_store.h"

namespace parkd {
namespace {

// A commit is closed when it holds this much; what is left makes the next one.
constexpr size_t kCommitVerbsMax = 1024;
constexpr size_t kCommitBytesMax = size_t{8} << 20;
constexpr size_t kWriteOverheadBytes = size_t{4} << 20;  // a block of a memtable's arena, and more
constexpr std::chrono::milliseconds kMemoryPause{10};
constexpr int kAnswerTries = 5;

}  // namespace

void EmbeddedStore::wait_for_memory() {
  std::this_thread::sleep_for(kMemoryPause);
}

// --- sync thread

void EmbeddedStore::sync_loop() {
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

void EmbeddedStore::sync_one(Commit& commit) {
  commit.written = caught("write", [&] {
    commit.dropped.reserve(commit.expired.size());
    ::operator delete(::operator new(2 * commit.batch.GetDataSize() + kWriteOverheadBytes));
  });
  if (!commit.written.ok()) return;
  commit.was_handed_over = true;
  const Status survived = caught("write", [&] {
    if (commit.batch.Count() > 0) commit.written = database_->write(&commit.batch);
    if (commit.has_purge) PARKD_KILL_POINT("purge.mid");
    for (const Period& period : commit.expired) {
      if (commit.written.ok() && database_->drop(period).ok()) {
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

void EmbeddedStore::run() {
  if (!waiting_.empty()) build_commit();  // jobs whose cancel was asked for before the restart
  while (!stopping_ || under_way_ != nullptr || !waiting_.empty()) {
    std::vector<Request> requests = inbox_.wait_all();
    if (!is_torn_ && !caught("promote", [this] { promote_due(clock_.now()); }).ok()) tear();
    for (Request& request : requests) {
      mend();
      handle(request);
    }
    while (!waiting_.empty() && under_way_ == nullptr) build_commit();
    mend();
  }
}

// Reads the state again if it is torn and may be read now.
void EmbeddedStore::mend() {
  if (is_torn_ && under_way_ == nullptr) (void)usable();
}

void EmbeddedStore::handle(Request& request) {
  if (request.is_stop) {
    stopping_ = true;
  } else if (request.is_settled) {
    const std::unique_ptr<Commit> commit = std::move(under_way_);
    settle(*commit);
  } else {
    const Status handled = caught(
        "verb", [&] { request.read ? request.read() : waiting_.push_back(std::move(request)); });
    if (!handled.ok()) refuse(request, handled);
  }
}

void EmbeddedStore::refuse(const Request& request, const Status& why) {
  if (!request.refuse) return;
  if (insist("refusal", kAnswerTries, [&] { request.refuse(why); }).ok()) return;
  (void)insist("refusal", 0, [&] { request.refuse(out_of_memory()); });
}

void EmbeddedStore::build_commit() {
  const Status usable_now = usable();
  if (!usable_now.ok()) {
    for (; !waiting_.empty(); waiting_.pop_front()) refuse(waiting_.front(), usable_now);
    return;
  }
  std::unique_ptr<Commit> commit;
  (void)insist("commit", 0, [&] { commit = std::make_unique<Commit>(); });
  bool is_whole = add_verbs(*commit);
  if (is_whole) is_whole = caught("commit", [&] { write_common_rows(*commit); }).ok();
  if (is_whole && commit->is_empty()) return settle(*commit);
  if (is_whole) {
    if (commit->has_submit) PARKD_KILL_POINT("submit.before_commit");
    if (commit->has_finish) PARKD_KILL_POINT("finish.before_commit");
    under_way_ = std::move(commit);
    if (caught("commit", [&] { to_sync_.push(under_way_.get()); }).ok()) return;
    commit = std::move(under_way_);
  }
  tear();
  complete(*commit, out_of_memory());
}

// False: a verb stopped half-way, and the commit is lost. Those that must wait stay in front.
bool EmbeddedStore::add_verbs(Commit& commit) {
  size_t n_deferred = 0;
  for (size_t n = 0; n_deferred < waiting_.size() && n < kCommitVerbsMax; ++n) {
    if (commit.batch.GetDataSize() >= kCommitBytesMax) break;
    const auto request = waiting_.begin() + static_cast<std::ptrdiff_t>(n_deferred);
    const size_t n_begun = commit.n_begun;
    const auto n_rows = commit.batch.Count();
    bool was_added = true;
    const Status added = caught("verb", [&] { was_added = request->write(commit); });
    if (added.ok() && !was_added) {
      ++n_deferred;
      continue;
    }
    if (!added.ok()) refuse(*request, added);
    waiting_.erase(request);
    const bool is_left_out = commit.n_begun == n_begun && commit.batch.Count() == n_rows;
    if (!added.ok() && !is_left_out) return false;
  }
  return true;
}

// Those that are of no single verb.
void EmbeddedStore::write_common_rows(Commit& commit) {
  write_batches(commit);
  if (commit.is_empty()) return;
  for (const auto& [name, change] : commit.n_messages_change) {
    const int64_t n = database_->find_period(name)->n_messages + change;
    (void)commit.batch.Put(database_->meta(), period_count_key(name),
                           record::encode_count(static_cast<uint64_t>(n)));
  }
}

// A verb whose answer cannot be made is told so: what it did stands.
void EmbeddedStore::complete(const Commit& commit, const Status& status) {
  for (const Commit::Step& step : commit.steps) {
    if (!step.complete) continue;
    if (insist("answer", kAnswerTries, [&] { step.complete(status); }).ok()) continue;
    (void)insist("answer", 0, [&] { step.complete(out_of_memory()); });
  }
}

void EmbeddedStore::settle(Commit& commit) {
  if (!commit.written.ok()) {
    if (!commit.was_handed_over || !caught("failure", [&] { fail(commit.written); }).ok()) {
      must_reopen_ = must_reopen_ || commit.was_handed_over;
      tear();
    }
    complete(commit, commit.was_handed_over ? failure_ : out_of_memory());
    return;
  }
  if (!commit.is_empty()) {
    ++n_commits_;
    if (testing_.sync_commits) ++n_syncs_;
  }
  if (commit.has_submit) PARKD_KILL_POINT("submit.after_commit");
  if (commit.has_finish) PARKD_KILL_POINT("finish.after_commit");
  if (commit.has_cancel) PARKD_KILL_POINT("cancel.after_commit");
  if (commit.has_release) PARKD_KILL_POINT("release.after_commit");
  for (const auto& [name, change] : commit.n_messages_change) {
    database_->find_period(name)->n_messages += change;
  }
  for (const std::string& name : commit.dropped) database_->forget(name);
  for (const JobId id : commit.unclaimed) claims_.erase(id);
  if (!is_torn_ && !caught("apply", [&] { apply(commit); }).ok()) tear();
  // Who is not told finds out when it looks again.
  (void)insist("wakeups", kAnswerTries, [&] {
    tell(observer_, commit.wakeups);
    if (has_outbox() && !commit.wakeups.messages.empty()) options_.outbox_filled();
  });
  complete(commit, {});
}

void EmbeddedStore::apply(Commit& commit) {
  apply_batches(commit);
  for (const Commit::Step& step : commit.steps) {
    if (step.apply) step.apply();
  }
}

void EmbeddedStore::promote_due(WallTime now) {
  for (const std::string& model : index_.promote_due(now)) {
    if (observer_.work_available) observer_.work_available(model);
  }
}

}  // namespace parkd
