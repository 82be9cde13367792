#include "lib/store/postgres/read_verbs.h"

#include <algorithm>
#include <utility>

#include "lib/store/postgres/pg_text.h"
#include "lib/store/postgres/rows.h"
#include "lib/store/postgres/statements.h"

namespace parkd {

Result<JobRecord> get_record(Connection& connection, JobId id, const std::string& tenant,
                             const StoreOptions& options, Now now) {
  Params params;
  params.add(now).add(to_bigint(id)).add(encode_text(tenant));
  PARKD_ASSIGN_OR_RETURN(const pqxx::result jobs, connection.run(sql::kGetJob, params));
  if (!jobs.empty()) return JobRecord(parse_job(jobs[0]));
  PARKD_ASSIGN_OR_RETURN(const pqxx::result messages, connection.run(sql::kGetMessage, params));
  if (!messages.empty()) return JobRecord(parse_message(messages[0]));
  params.add(options.history_retention.count());
  PARKD_ASSIGN_OR_RETURN(const pqxx::result history, connection.run(sql::kGetHistory, params));
  if (!history.empty()) return JobRecord(parse_history(history[0]));
  return JobRecord();
}

Result<std::vector<Job>> list_jobs(Connection& connection, const ListFilter& filter, Now now) {
  Params params;
  params.add(now).add(to_bigint(filter.after));
  for (const auto* name : {&filter.tenant, &filter.model}) {
    *name ? params.add(encode_text(**name)) : params.add_null();
  }
  filter.state ? params.add(std::string(to_string(*filter.state))) : params.add_null();
  params.add(int64_t{std::max(filter.limit, 0)});
  PARKD_ASSIGN_OR_RETURN(const pqxx::result rows, connection.run(sql::kList, params));
  std::vector<Job> jobs;
  for (const auto& row : rows) jobs.push_back(parse_job(row));
  return jobs;
}

Result<std::optional<std::string>> results_payload(Connection& connection,
                                                   const std::string& tenant,
                                                   const std::string& mailbox_key) {
  Params params;
  params.add(encode_text(tenant)).add(encode_text(mailbox_key));
  PARKD_ASSIGN_OR_RETURN(const pqxx::result rows, connection.run(sql::kResultsPayload, params));
  if (rows[0][0].is_null()) return std::optional<std::string>();
  return std::optional<std::string>(text(rows[0], 0));
}

Result<FetchAnswer> fetch_messages(Connection& connection, const FetchRequest& request, Now now) {
  Params params;
  params.add(encode_text(request.tenant))
      .add(encode_text(request.mailbox_key))
      .add(to_bigint(request.after_sequence))
      .add(int64_t{std::max(request.limit, 0)})
      .add(now);
  PARKD_ASSIGN_OR_RETURN(const pqxx::result rows, connection.run(sql::kFetch, params));
  FetchAnswer answer;
  answer.next_sequence = request.after_sequence;
  for (const auto& row : rows) {
    answer.messages.push_back(parse_message(row));
    answer.next_sequence = answer.messages.back().sequence;
  }
  return answer;
}

Result<std::vector<Message>> take_messages(Connection& connection, const std::string& tenant,
                                           const std::string& mailbox_key,
                                           const std::vector<uint64_t>& sequences, Now now,
                                           TakeInDoubt& doubt) {
  if (!doubt.transaction.empty()) {
    Params transaction;
    transaction.add(doubt.transaction);
    PARKD_ASSIGN_OR_RETURN(const pqxx::result rows,
                           connection.run(sql::kTransactionStatus, transaction));
    const std::string status = text(rows[0], 0);
    if (status == "committed") return std::exchange(doubt, {}).messages;
    if (status == "in progress") return unavailable("the take is still under way");
    doubt = {};  // aborted: the messages are where they were
  }
  ArrayText wanted;
  for (const uint64_t sequence : sequences) wanted.add(to_bigint(sequence));
  Params params;
  params.add(encode_text(tenant)).add(encode_text(mailbox_key)).add(wanted.take()).add(now);
  std::optional<pqxx::result> received;
  const auto rows = connection.run_then_commit(sql::kTake, params, received);
  std::vector<Message> taken;
  if (rows.ok() || (received && connection.in_doubt())) {
    for (const auto& row : *received) taken.push_back(parse_message(row));
  }
  if (rows.ok() || taken.empty()) {
    if (!rows.ok()) return rows.status();
    return taken;
  }
  constexpr pqxx::row::size_type kTransactionColumn = 24;  // behind PARKD_MESSAGE_COLUMNS
  doubt.transaction = text((*received)[0], kTransactionColumn);
  doubt.messages = std::move(taken);
  return rows.status();
}

}  // namespace parkd
