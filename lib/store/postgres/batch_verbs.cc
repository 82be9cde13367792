#include "lib/store/postgres/batch_verbs.h"

#include <algorithm>
#include <set>

#include "lib/store/batch_accounts.h"
#include "lib/store/batch_rules.h"
#include "lib/store/postgres/pg_text.h"
#include "lib/store/postgres/rows.h"
#include "lib/store/postgres/statements.h"
#include "lib/store/rules.h"

namespace parkd {
namespace {

using Column = pqxx::row::size_type;

std::optional<WallTime> time_at(const pqxx::row& row, Column column) {
  if (row[column].is_null()) return std::nullopt;
  return from_unix_us(integer(row, column));
}

// `first`: the column where PARKD_BATCH_COLUMNS begin.
Batch parse_batch(const pqxx::row& row, Column first) {
  Batch batch;
  BatchSpec& spec = batch.spec;
  Column at = first;
  batch.id = text(row, at++);
  spec.tenant = text(row, at++);
  spec.name = text(row, at++);
  spec.metadata = row[at].is_null() ? "" : row[at].c_str();
  spec.idempotency_key = text(row, ++at);
  spec.deadline = time_at(row, ++at);
  spec.retention = std::chrono::seconds(integer(row, ++at));
  for (int64_t* counter : {&batch.total, &batch.completed, &batch.failed, &batch.cancelled,
                           &batch.deadline_missed, &batch.quarantined, &batch.truncated}) {
    *counter = integer(row, ++at);
  }
  batch.created_at = from_unix_us(integer(row, ++at));
  for (std::optional<WallTime>* time : {&batch.sealed_at, &batch.cancel_at, &batch.finished_at}) {
    *time = time_at(row, ++at);
  }
  return batch;
}
constexpr Column kBatchColumns = 18;

}  // namespace

Result<std::vector<RequeuedJob>> requeue_jobs(Connection& connection, const RequeueRequest& request,
                                              Now now, Wakeups& wakeups) {
  PARKD_RETURN_IF_ERROR(check_requeue(request));
  ArrayText ids;
  for (const JobId id : request.ids) ids.add(static_cast<int64_t>(id));
  ArrayText codes;
  for (const std::string& code : request.error_codes) codes.add(encode_text(code));
  Params params;
  params.add(encode_text(request.tenant))
      .add(ids.take())
      .add(codes.take())
      .add(encode_text(request.model))
      .add(encode_text(request.batch_id))
      .add(int64_t{std::max(request.limit, 0)})
      .add(now);
  PARKD_ASSIGN_OR_RETURN(const pqxx::result rows, connection.run(sql::kRequeue, params));
  std::vector<RequeuedJob> requeued;
  std::set<std::string> models;
  for (const auto& row : rows) {
    requeued.push_back({static_cast<JobId>(integer(row, 0)), static_cast<JobId>(integer(row, 1)),
                        text(row, 2), text(row, 4) == "t"});
    if (!requeued.back().existed) models.insert(text(row, 3));
  }
  wakeups.models.insert(models.begin(), models.end());
  return requeued;
}

Result<OpenedBatch> open_batch_row(Connection& connection, const BatchSpec& spec,
                                   const StoreOptions& options, WallTime about_now, Now now) {
  // The batch a repeated key names is found all the same: its deadline may have passed meanwhile.
  const Status checked = check_batch(spec, about_now);
  if (!checked.ok() && spec.idempotency_key.empty()) return checked;
  Params params;
  params.add(encode_text(spec.tenant)).add(encode_text(spec.name));
  spec.metadata.empty() ? params.add_null() : params.add(spec.metadata);
  params.add(encode_text(spec.idempotency_key))
      .add(spec.deadline ? std::optional(to_unix_us(*spec.deadline)) : std::nullopt)
      .add(spec.retention ? std::optional<int64_t>(spec.retention->count()) : std::nullopt)
      .add(options.retention_default.count())
      .add(std::string(checked.ok() ? "f" : "t"))
      .add(now)
      .add(options.open_batches_max);
  auto rows = connection.run(sql::kOpenBatch, params);
  if (!rows.ok()) {
    // What is left for PostgreSQL to refuse is JSON that is none.
    Status status = rows.status();
    if (status.code() == StatusCode::invalid) status.with_param("metadata");
    return status;
  }
  if (rows->empty() && !checked.ok()) return checked;
  if (rows->size() != 1) return internal_error("open_batch answered no row");
  if ((*rows)[0][4].is_null()) {
    return too_many_batches(spec.tenant, integer((*rows)[0], 2), integer((*rows)[0], 3));
  }
  OpenedBatch opened{parse_batch((*rows)[0], 4), text((*rows)[0], 0) == "t"};
  if (text((*rows)[0], 1) == "t") {
    return batch_key_has_other_content(spec.idempotency_key, opened.batch.id);
  }
  return opened;
}

Result<Batch> seal_batch_row(Connection& connection, const std::string& id,
                             const std::string& tenant, Now now) {
  Params params;
  params.add(encode_text(id)).add(encode_text(tenant)).add(now);
  PARKD_ASSIGN_OR_RETURN(const pqxx::result rows, connection.run(sql::kSealBatch, params));
  if (rows.empty()) return no_such_batch(id);
  return parse_batch(rows[0], 0);
}

Result<std::vector<AskedToCancel>> cancel_batch_members(Connection& connection,
                                                        const std::string& id,
                                                        const std::string& tenant, Now now) {
  Params params;
  params.add(encode_text(id)).add(encode_text(tenant)).add(now);
  PARKD_ASSIGN_OR_RETURN(const pqxx::result rows, connection.run(sql::kCancelBatch, params));
  std::vector<AskedToCancel> asked;
  for (const auto& row : rows) {
    asked.push_back(
        {static_cast<JobId>(integer(row, 0)), lease_from_sql(integer(row, 1)), integer(row, 2)});
  }
  return asked;
}

Result<Batch> get_batch_row(Connection& connection, const std::string& id,
                            const std::string& tenant, Now now) {
  Params params;
  params.add(encode_text(id)).add(encode_text(tenant)).add(now);
  PARKD_ASSIGN_OR_RETURN(const pqxx::result rows, connection.run(sql::kGetBatch, params));
  if (rows.empty()) return no_such_batch(id);
  Batch batch = parse_batch(rows[0], 0);
  batch.live =
      LiveMembers{integer(rows[0], kBatchColumns), integer(rows[0], kBatchColumns + 1),
                  integer(rows[0], kBatchColumns + 2), integer(rows[0], kBatchColumns + 3)};
  return batch;
}

Result<std::vector<Batch>> list_batch_rows(Connection& connection, const BatchFilter& filter,
                                           Now now) {
  if (!filter.after.empty()) {
    const auto after = get_batch_row(connection, filter.after, filter.tenant.value_or(""), now);
    if (!after.ok() && after.status().code() != StatusCode::not_found) return after.status();
    if (!after.ok()) return no_batch_to_list_after(filter.after);
  }
  Params params;
  filter.tenant ? params.add(encode_text(*filter.tenant)) : params.add_null();
  params.add(encode_text(filter.after)).add(int64_t{std::max(filter.limit, 0)});
  PARKD_ASSIGN_OR_RETURN(const pqxx::result rows, connection.run(sql::kListBatches, params));
  std::vector<Batch> batches;
  for (const auto& row : rows) batches.push_back(parse_batch(row, 0));
  return batches;
}

}  // namespace parkd
