// FinishSession: takes back what this process claimed, with its result (finish) or without
// (release).
//
// Owner: PostgresStore. finish() and release() may be called from any thread; statements and
// completions are the session's own thread's. Everything that is there goes in few statements. What
// is not answered, because the database is away or another session's open transaction holds a job
// or its batch, is kept and sent again, without a limit but the stop's: a finished result is not
// given up. The others' answers do not wait for it.
#pragma once

#include <optional>
#include <variant>
#include <vector>

#include "lib/base/inbox.h"
#include "lib/base/thread.h"
#include "lib/store/completion.h"
#include "lib/store/daemon_store.h"
#include "lib/store/postgres/connection.h"
#include "lib/store/postgres/held_claims.h"
#include "lib/store/postgres/shared_state.h"
#include "lib/store/postgres/verbs.h"

namespace parkd {

class FinishSession {
 public:
  FinishSession(SharedState& shared, HeldClaims& held);

  void start();
  Connection& connection() { return connection_; }
  const Connection& connection() const { return connection_; }

  void finish(std::vector<FinishItem> items, Completion<std::vector<FinishAnswer>> done);
  void release(std::vector<ReleaseItem> items, Completion<std::vector<ReleaseAnswer>> done);

  void close();  // refuses what comes; what is there is sent for stop_limit at most
  void join();   // after close()

 private:
  template <class Item, class Answer>
  struct CallOf {
    std::vector<Item> items;
    Completion<std::vector<Answer>> done;
    std::vector<std::optional<Answer>> answers{};  // so far; as many as items once it was sent
  };
  using FinishCall = CallOf<FinishItem, FinishAnswer>;
  using ReleaseCall = CallOf<ReleaseItem, ReleaseAnswer>;
  using Call = std::variant<FinishCall, ReleaseCall>;

  void loop();
  // Sends what has no answer yet, answers the calls that are complete and removes them.
  Status send(std::vector<Call>& calls, Locked locked);
  template <class Item, class Answer>
  Status send_items(const std::vector<CallOf<Item, Answer>*>& calls, Locked locked);
  Ended<FinishAnswer> end_items(const std::vector<const FinishItem*>& items, Locked locked,
                                Wakeups& wakeups);
  Ended<ReleaseAnswer> end_items(const std::vector<const ReleaseItem*>& items, Locked locked,
                                 Wakeups& wakeups);
  template <class Item, class Answer>
  void refuse(CallOf<Item, Answer>& call, const Status& why);
  static bool is_complete(const Call& call);
  static void answer(Call& call);
  static void give_up(Call& call, const Status& why);

  SharedState& shared_;
  HeldClaims& held_;
  Inbox<Call> calls_;
  Connection connection_;  // the thread's
  Thread thread_;
};

}  // namespace parkd
