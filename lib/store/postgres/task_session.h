// TaskSession: a thread and a connection that do one asked-for thing after the other.
//
// Owner: PostgresStore, or the session that is made of it. once() and retried() may be called from
// any thread; verbs run, and their completions are called, on the session's own thread.
#pragma once

#include <functional>
#include <string>
#include <utility>

#include "lib/base/inbox.h"
#include "lib/base/thread.h"
#include "lib/store/answer_caught.h"
#include "lib/store/completion.h"
#include "lib/store/postgres/connection.h"
#include "lib/store/postgres/shared_state.h"

namespace parkd {

// Whether a verb may be sent again when it is not known if it was committed.
enum class Repeatable { no, yes };

class TaskSession {
 public:
  TaskSession(SharedState& shared, std::string thread_name, Connection::Options session);

  void start();
  Connection& connection() { return connection_; }
  const Connection& connection() const { return connection_; }

  // Answers what `verb(connection)` answers.
  template <class T, class Verb>
  void once(Completion<T> done, Verb verb) {
    const auto stop_answer = done;
    if (!tasks_.push([done = std::move(done), verb = std::move(verb)](Connection& connection) {
          answer_caught(done, [&] { return verb(connection); });
        })) {
      stop_answer(store_has_stopped());
    }
  }
  // The same, tried again while the database is away or another session's open transaction is in
  // the way, for verb_limit from now on, not from its turn: a hundred readers wait for a database
  // that is away together.
  template <class T, class Verb>
  void retried(Completion<T> done, Repeatable repeatable, Verb verb) {
    const auto stop_answer = done;
    if (!push_try<T>(std::move(done), repeatable, shared_.give_up_at(), std::move(verb))) {
      stop_answer(store_has_stopped());
    }
  }

  void close();  // refuses what comes; what is there is still done
  void join();   // after close()

 private:
  using Task = std::function<void(Connection&)>;

  template <class T, class Verb>
  bool push_try(Completion<T> done, Repeatable repeatable, SharedState::TimePoint give_up_at,
                Verb verb) {
    return tasks_.push([=, this](Connection& connection) {
      auto result = caught("verb", [&] {
        return shared_.with_retries<T>(connection, repeatable == Repeatable::yes, give_up_at, verb);
      });
      // What another session's open transaction holds comes again behind what others have asked
      // meanwhile.
      const bool held = !result.ok() && connection.sqlstate() == kLockNotAvailable;
      if (held && std::chrono::steady_clock::now() < give_up_at) {
        const Status pushed = caught("verb", [&] {
          const bool is_open = push_try<T>(done, repeatable, give_up_at, verb);
          return is_open ? Status() : store_has_stopped();
        });
        if (pushed.ok()) return;
      }
      answer_caught(done, [&]() -> Result<T> { return std::move(result); });
    });
  }
  void loop();

  SharedState& shared_;
  const std::string thread_name_;
  Inbox<Task> tasks_;
  Connection connection_;  // the thread's
  Thread thread_;
};

}  // namespace parkd
