// What keeps the database in order, and what is known of its state: by verbs.h's rules.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "lib/store/daemon_store.h"
#include "lib/store/postgres/connection.h"
#include "lib/store/postgres/verbs.h"
#include "lib/store/store_options.h"
#include "lib/store/store_stats.h"

namespace parkd {

// Whether durability and writing can be promised on this server. Errors: conflict
// (synchronous_commit is off), unavailable (read-only).
Status check_server(Connection& connection);
// The second alone: of a session that comes after another. unavailable, with the reason, when it
// takes no writes; the session is closed then.
Status check_writable(Connection& connection);

// What a round of housekeeping leaves to do outside of a transaction, and to say.
struct Upkeep {
  PurgeAnswer answer;
  std::vector<std::string> to_vacuum;  // tables with many dead rows that this login may vacuum
  std::string piled_up;                // of tables it cannot help; for people, empty: none
  // What a hand at the database took away and was mended (parkd.mishaps).
  std::vector<HealthNotice> notices;
};
struct UpkeepTimes {
  std::chrono::milliseconds depth_age_max{
      0};  // counted unless a sample is at most so old; 0: always
  Now now;
  // This machine's DropClock. A partition goes when it has passed by the database's clock and by
  // this one, so that neither can drop one by leaping.
  WallTime drop_before{};
};
Result<Upkeep> maintain(Connection& connection, const StoreOptions& options,
                        const UpkeepTimes& times, Wakeups& wakeups);
// Names this daemon's models again where their rows were deleted. Returns the names of those
// that stand for other files now.
Result<std::vector<std::string>> keep_models(Connection& connection,
                                             const std::vector<ModelRegistration>& models, Now now);
// A transaction that has a place among the finishes: readers see nothing that was stored since it
// drew its numbers.
struct Finishing {
  std::string transaction;
  std::string who;  // for people: the session and its login, and how to end it
};
Result<std::vector<Finishing>> finishing_now(Connection& connection);

// One table of Upkeep::to_vacuum.
Status vacuum(Connection& connection, const std::string& table);

// Fills in `stats.models`, as housekeeping last counted them, and `stats.messages`. Reads no job:
// it is asked every few seconds, however long the queue is.
Status read_depths(Connection& connection, Now now, StoreStats& stats);

}  // namespace parkd
