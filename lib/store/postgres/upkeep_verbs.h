// What keeps the database in order, and what is known of its state: by verbs.h's rules.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "lib/store/job_store.h"
#include "lib/store/postgres/connection.h"
#include "lib/store/postgres/verbs.h"

namespace parkd {

// Whether durability and writing can be promised on this server. Errors: conflict
// (synchronous_commit is off), unavailable (read-only).
Status check_server(Connection& connection);

// What a round of housekeeping leaves to do outside of a transaction, and to say.
struct Upkeep {
  PurgeAnswer answer;
  std::vector<std::string> to_vacuum;  // tables with many dead rows that this login may vacuum
  std::string piled_up;                // of tables it cannot help; for people, empty: none
};
Result<Upkeep> maintain(Connection& connection, const StoreOptions& options, Now now, News& news);
// One table of Upkeep::to_vacuum.
Status vacuum(Connection& connection, const std::string& table);

// Fills in `stats.models` and `stats.messages` from a sample that is at most `age_max` old; one is
// taken where there is none. 0: always, for a test that wants the very number.
Status read_depths(Connection& connection, std::chrono::milliseconds age_max, Now now,
                   StoreStats& stats);

}  // namespace parkd
