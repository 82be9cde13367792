// CommitLoop: the embedded store's two threads:
//
//   state thread ("store")       owns the state; runs verbs and reads; builds and settles commits
//   sync thread  ("store-sync")  writes and syncs one commit at a time
//
// so that a claim never waits for the disk to sync. Verbs arrive in the inbox; those that write
// gather while a commit is under way and become the next one (natural group commit: nothing is
// delayed when the store is idle).
//
// Out of memory, or any exception (what a torn state is: embedded_state.h):
//   - A verb that throws before Commit::begin() has changed nothing: it alone is refused.
//   - Behind it, the commit being built is given up (its verbs are refused, nothing of it is on
//     disk) and the state is torn. The same when a claim throws.
//   - Before the bytes are handed to RocksDB the memory that it will want is made sure of, for it
//     is not safe against exceptions in the middle of a call: one out of its write ends the process
//     (a log line, then as after a crash), for what it left is unknown.
//   - On disk, and then it throws: torn. The verbs are answered as done; one whose answer cannot be
//     made is told "unavailable", and finds out when it asks again.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>

#include "lib/base/inbox.h"
#include "lib/base/status.h"
#include "lib/base/thread.h"
#include "lib/base/thread_safety.h"
#include "lib/store/answer_caught.h"
#include "lib/store/completion.h"
#include "lib/store/rocksdb/commit.h"
#include "lib/store/rocksdb/embedded_state.h"

namespace parkd::embedded {

class CommitLoop {
 public:
  // `state` is open when start() is called, and outlives the loop.
  explicit CommitLoop(State& state) : state_(state) {}

  void start();
  // Completes what was accepted, and closes the database. Blocks; idempotent; any thread.
  void stop();

  // --- any thread. After stop() `done` is told "unavailable".
  // void verb(State&, const Completion<T>&): completes it before it returns.
  template <class T, class Verb>
  void run(Completion<T> done, Verb verb);
  // Result<T> verb(State&).
  template <class T, class Verb>
  void read(Completion<T> done, Verb verb);
  // bool verb(State&, const Completion<T>&, Commit&): by client_verbs.h's rules.
  template <class T, class Verb>
  void write(Completion<T> done, Verb verb);

 private:
  // A verb on its way: one of `read` and `write` is set.
  struct Request {
    std::function<void()> read;
    // Decides the verb and adds it to the commit, or completes it at once when there is nothing to
    // write. False: must wait for the next commit (and nothing was added).
    std::function<bool(Commit&)> write;
    std::function<void(const Status&)> refuse;
    bool is_settled = false;  // from the sync thread: under_way_
    bool is_stop = false;
  };

  void push(Request request);

  // --- sync thread
  void sync_loop();
  void sync_one(Commit& commit);

  // --- state thread
  void state_loop();
  void mend();
  void handle(Request& request);
  static void refuse(const Request& request, const Status& why);
  bool has_writes() const { return !waiting_.empty() || state_.must_end_flagged; }
  void build_commit();
  std::unique_ptr<Commit> take_back();  // under_way_
  void refuse_all(const Status& why);
  bool add_verbs(Commit& commit);
  void write_common_rows(Commit& commit);
  void settle(Commit& commit);
  void apply(Commit& commit);
  static void complete(const Commit& commit, const Status& status);

  State& state_;

  // Owned by the state thread.
  std::deque<Request> waiting_;
  std::unique_ptr<Commit> under_way_;  // with the sync thread
  bool stopping_ = false;

  Inbox<Request> inbox_;        // to the state thread
  Inbox<Commit*> to_sync_;      // to the sync thread: under_way_
  std::mutex accepting_mutex_;  // orders verbs before the stop; held for a push, never calling out
  bool accepting_ PARKD_GUARDED_BY(accepting_mutex_) = false;
  std::mutex stop_mutex_;  // one stop() at a time
  Thread state_thread_;
  Thread sync_thread_;
};

template <class T, class Verb>
void CommitLoop::run(Completion<T> done, Verb verb) {
  Request request;
  request.refuse = [done](const Status& why) { done(why); };
  request.read = [&state = state_, done, verb = std::move(verb)] { verb(state, done); };
  push(std::move(request));
}

template <class T, class Verb>
void CommitLoop::read(Completion<T> done, Verb verb) {
  run<T>(std::move(done), [verb = std::move(verb)](State& state, const Completion<T>& answer) {
    answer(verb(state));
  });
}

template <class T, class Verb>
void CommitLoop::write(Completion<T> done, Verb verb) {
  Request request;
  request.refuse = [done](const Status& why) { done(why); };
  request.write = [&state = state_, done, verb = std::move(verb)](Commit& commit) {
    return verb(state, done, commit);
  };
  push(std::move(request));
}

}  // namespace parkd::embedded
