// The verbs that look, and take, which is looking and removing: by verbs.h's rules.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lib/store/job_store.h"
#include "lib/store/postgres/connection.h"
#include "lib/store/postgres/verbs.h"

namespace parkd {

Result<JobRecord> get_record(Connection& connection, JobId id, const std::string& tenant,
                             const StoreOptions& options, Now now);
Result<std::vector<Job>> list_jobs(Connection& connection, const ListFilter& filter, Now now);
// What NOTIFY parkd_results says of a key; nothing where the database announces no results.
Result<std::optional<std::string>> results_payload(Connection& connection,
                                                   const std::string& tenant,
                                                   const std::string& mailbox_key);
Result<FetchAnswer> fetch_messages(Connection& connection, const FetchRequest& request, Now now);
// A take whose commit was not answered: what it returns if it was committed.
struct TakeInDoubt {
  std::vector<Message> messages;
  std::string transaction;  // empty: none is in doubt
};
// Finds out first what became of `doubt`; is to be called again with it after unavailable.
Result<std::vector<Message>> take_messages(Connection& connection, const std::string& tenant,
                                           const std::string& mailbox_key,
                                           const std::vector<uint64_t>& sequences, Now now,
                                           TakeInDoubt& doubt);

}  // namespace parkd
