// The verbs that look, and take, which is looking and removing: by verbs.h's rules.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lib/store/client_store.h"
#include "lib/store/postgres/connection.h"
#include "lib/store/postgres/verbs.h"
#include "lib/store/store_options.h"

namespace parkd {

Result<JobRecord> get_record(Connection& connection, JobId id, const std::string& tenant,
                             const StoreOptions& options, Now now);

// --- lists, of a store and of a client

// What no index finds is looked for among so many jobs a page.
inline constexpr int64_t kListVisits = 10'000;
// Whether a list looks at jobs that are not its own.
bool walks_past_others(const ListFilter& filter, bool of_tenant);
// The parameters of sql::kList and client_sql::kListJobs; one more job than the limit, which says
// that there are more.
Params list_params(const ListFilter& filter, const std::optional<std::string>& tenant,
                   std::optional<int64_t> until, Now now);
// What sql::kListUntil found; empty: the list can be walked to its end.
std::optional<int64_t> until_of(const pqxx::result& rows);
// Takes the job too many off `jobs` and gives ListAnswer::next_after.
template <class T, class IdOf>
std::optional<JobId> end_page(std::vector<T>& jobs, const ListFilter& filter,
                              std::optional<int64_t> until, IdOf&& id_of) {
  const auto limit = static_cast<size_t>(std::max(filter.limit, 0));
  if (jobs.size() > limit) {
    jobs.resize(limit);
    return jobs.empty() ? filter.after : id_of(jobs.back());
  }
  if (until) return static_cast<JobId>(*until);
  return std::nullopt;
}

Result<ListAnswer> list_jobs(Connection& connection, const ListFilter& filter, Now now);

// What NOTIFY parkd_results says of a key; nothing where the database announces no results.
Result<std::optional<std::string>> results_payload(Connection& connection,
                                                   const std::string& tenant,
                                                   const std::string& mailbox_key);
// Of rows of page_of().
FetchAnswer page_from(const pqxx::result& rows, const FetchRequest& request);
Result<FetchAnswer> fetch_messages(Connection& connection, const FetchRequest& request, Now now);
// A take whose commit was not answered: what it returns if it was committed.
struct UncertainTake {
  std::vector<Message> messages;
  std::string transaction;  // empty: none is uncertain
};
// The two steps of a take, to be done again with the same `uncertain` after unavailable, and where
// one of them throws. What became of an earlier try: its messages, or none if it removed nothing.
Result<std::optional<std::vector<Message>>> settle_take(Connection& connection,
                                                        UncertainTake& uncertain);
// Runs `statement`, whose rows are the messages it removes and, by name, its transaction.
Result<std::vector<Message>> send_take(Connection& connection, const Statement& statement,
                                       const Params& params, UncertainTake& uncertain);
// Does both and throws nothing.
Result<std::vector<Message>> take_messages(Connection& connection, const std::string& tenant,
                                           const std::string& mailbox_key,
                                           const std::vector<uint64_t>& sequences, Now now,
                                           UncertainTake& uncertain);

}  // namespace parkd
