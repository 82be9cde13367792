#include "lib/store/postgres/read_verbs.h"

#include <algorithm>
#include <utility>

#include "lib/store/answer_caught.h"
#include "lib/store/batch_rules.h"
#include "lib/store/postgres/pg_text.h"
#include "lib/store/postgres/rows.h"
#include "lib/store/postgres/statements.h"

namespace parkd {
namespace {

constexpr char kIsKept[] = "55000";  // take_v1's refusal: object_not_in_prerequisite_state

}  // namespace

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

bool walks_past_others(const ListFilter& filter, bool of_tenant) {
  if (filter.batch_id || filter.state == JobState::claimed) return false;
  return of_tenant || filter.model || filter.state || filter.mailbox_key || filter.custom_id;
}

Params list_params(const ListFilter& filter, const std::optional<std::string>& tenant,
                   std::optional<int64_t> until, Now now) {
  Params params;
  params.add(now).add(to_bigint(filter.after));
  until ? params.add(*until) : params.add_null();
  const auto text_or_null = [&params](const std::optional<std::string>& text) {
    text ? params.add(encode_text(*text)) : params.add_null();
  };
  text_or_null(tenant);
  text_or_null(filter.model);
  filter.state ? params.add(std::string(to_string(*filter.state))) : params.add_null();
  text_or_null(filter.batch_id);
  text_or_null(filter.mailbox_key);
  text_or_null(filter.custom_id);
  params.add(int64_t{std::max(filter.limit, 0)} + 1);
  return params;
}

std::optional<int64_t> until_of(const pqxx::result& rows) {
  return rows.empty() ? std::nullopt : only_field(rows).optional_integer();
}

Result<ListAnswer> list_jobs(Connection& connection, const ListFilter& filter, Now now) {
  std::optional<int64_t> until;
  if (walks_past_others(filter, filter.tenant.has_value())) {
    Params place;
    place.add(to_bigint(filter.after)).add(kListVisits);
    PARKD_ASSIGN_OR_RETURN(const pqxx::result rows, connection.run(sql::kListUntil, place));
    until = until_of(rows);
  }
  PARKD_ASSIGN_OR_RETURN(
      const pqxx::result rows,
      connection.run(sql::kList, list_params(filter, filter.tenant, until, now)));
  ListAnswer answer;
  for (const auto& row : rows) answer.jobs.push_back(parse_job(row));
  answer.next_after = end_page(answer.jobs, filter, until, [](const Job& job) { return job.id; });
  return answer;
}

Result<std::optional<std::string>> results_payload(Connection& connection,
                                                   const std::string& tenant,
                                                   const std::string& mailbox_key) {
  Params params;
  params.add(encode_text(tenant)).add(encode_text(mailbox_key));
  PARKD_ASSIGN_OR_RETURN(const pqxx::result rows, connection.run(sql::kResultsPayload, params));
  const Field payload = only_field(rows);
  return payload.is_null ? std::nullopt : std::optional(payload.text());
}

FetchAnswer page_from(const pqxx::result& rows, const FetchRequest& request) {
  FetchAnswer answer;
  answer.next_sequence = request.after_sequence;
  for (const auto& row : rows) answer.messages.push_back(parse_message(row));
  if (!rows.empty()) {
    const int64_t n_there = integer(rows[0], "n_there");
    answer.is_full = n_there >= request.limit || n_there > static_cast<int64_t>(rows.size());
    answer.next_sequence = answer.messages.back().sequence;
  }
  return answer;
}

Result<FetchAnswer> fetch_messages(Connection& connection, const FetchRequest& request, Now now) {
  Params params;
  params.add(encode_text(request.tenant))
      .add(encode_text(request.mailbox_key))
      .add(to_bigint(request.after_sequence))
      .add(int64_t{std::max(request.limit, 0)})
      .add(now)
      .add(request.bytes_max);
  PARKD_ASSIGN_OR_RETURN(const pqxx::result rows, connection.run(sql::kFetch, params));
  return page_from(rows, request);
}

Result<std::optional<std::vector<Message>>> settle_take(Connection& connection,
                                                        UncertainTake& uncertain) {
  using Settled = std::optional<std::vector<Message>>;
  if (uncertain.transaction.empty()) return Settled();
  Params transaction;
  transaction.add(uncertain.transaction);
  PARKD_ASSIGN_OR_RETURN(const pqxx::result rows,
                         connection.run(sql::kTransactionStatus, transaction));
  const std::string status = only_field(rows).text();
  if (status == "in progress") return unavailable("the take is still under way");
  const bool is_done = status == "committed";  // else the messages are where they were
  std::vector<Message> messages = std::exchange(uncertain, {}).messages;
  return is_done ? Settled(std::move(messages)) : Settled();
}

Result<std::vector<Message>> send_take(Connection& connection, const Statement& statement,
                                       const Params& params, UncertainTake& uncertain) {
  const auto keep = [&uncertain](const pqxx::result& rows) {
    UncertainTake sent;
    for (const auto& row : rows) sent.messages.push_back(parse_message(row));
    if (!rows.empty()) sent.transaction = text(rows[0], "transaction");
    uncertain = std::move(sent);
  };
  const auto rows = connection.run_then_commit(statement, params, keep);
  if (!rows.ok()) return rows.status();
  return std::exchange(uncertain, {}).messages;
}

Result<std::vector<Message>> take_messages(Connection& connection, const std::string& tenant,
                                           const std::string& mailbox_key,
                                           const std::vector<uint64_t>& sequences, Now now,
                                           UncertainTake& uncertain) {
  return caught("take", [&]() -> Result<std::vector<Message>> {
    PARKD_ASSIGN_OR_RETURN(auto earlier, settle_take(connection, uncertain));
    if (earlier) return *std::move(earlier);
    ArrayText wanted;
    for (const uint64_t sequence : sequences) wanted.add(to_bigint(sequence));
    Params params;
    params.add(encode_text(tenant)).add(encode_text(mailbox_key)).add(wanted.take()).add(now);
    auto taken = send_take(connection, sql::kTake, params, uncertain);
    if (!taken.ok() && connection.sqlstate() == kIsKept) {
      Batch batch;
      batch.id = mailbox_key;
      return results_are_kept(batch);
    }
    return taken;
  });
}

}  // namespace parkd
