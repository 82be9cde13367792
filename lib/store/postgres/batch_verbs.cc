#include "lib/store/postgres/batch_verbs.h"

#include <algorithm>

#include "lib/store/batch_accounts.h"
#include "lib/store/batch_rules.h"
#include "lib/store/postgres/pg_text.h"
#include "lib/store/postgres/rows.h"
#include "lib/store/postgres/statements.h"
#include "lib/store/rules.h"

namespace parkd {
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
  for (const auto& row : rows) {
    requeued.push_back({field(row, "requeued_from").id(), field(row, "id").id(),
                        text(row, "mailbox_key"), flag(row, "existed")});
    if (!requeued.back().existed) wakeups.models.insert(text(row, "model"));
  }
  return requeued;
}

Result<OpenedBatch> open_batch_row(Connection& connection, const BatchSpec& spec,
                                   const StoreOptions& options, WallTime about_now, Now now) {
  if (about_now == WallTime()) {
    return unavailable("this daemon has not been registered with the database yet: try again");
  }
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
  if (spec.file) {
    params.add(encode_text(spec.file->input_file_id))
        .add(encode_text(spec.file->endpoint))
        .add(encode_text(spec.file->completion_window))
        .add(encode_text(spec.file->retried_from))
        .add(std::optional<int64_t>(spec.file->max_tokens));
    const std::string& webhook = spec.file->webhook_url;
    webhook.empty() ? params.add_null() : params.add(encode_text(webhook));
  } else {
    for (int i = 0; i < 6; ++i) params.add_null();
  }
  auto rows = connection.run(sql::kOpenBatch, params);
  if (!rows.ok()) {
    // What is left for PostgreSQL to refuse is JSON that is none.
    Status status = rows.status();
    if (status.code() == StatusCode::invalid) status.with_param("metadata");
    return status;
  }
  if (rows->empty() && !checked.ok()) return checked;
  if (rows->size() != 1) return internal_error("open_batch answered no row");
  const pqxx::row row = (*rows)[0];
  if (is_null(row, "id")) {
    return too_many_batches(spec.tenant, integer(row, "n_open"), integer(row, "max_open"));
  }
  OpenedBatch opened{parse_batch(row), flag(row, "existed")};
  if (flag(row, "conflict")) {
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
  return parse_batch(rows[0]);
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
        {field(row, "job_id").id(), field(row, "run_lease").lease(), integer(row, "daemon")});
  }
  return asked;
}

Result<Batch> get_batch_row(Connection& connection, const std::string& id,
                            const std::string& tenant, Now now) {
  Params params;
  params.add(encode_text(id)).add(encode_text(tenant)).add(now);
  PARKD_ASSIGN_OR_RETURN(const pqxx::result rows, connection.run(sql::kGetBatch, params));
  if (rows.empty()) return no_such_batch(id);
  Batch batch = parse_batch(rows[0]);
  batch.live = parse_live_members(rows[0]);
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
  filter.of_file ? params.add(std::string(*filter.of_file ? "t" : "f")) : params.add_null();
  params.add(encode_text(filter.reads_file));
  PARKD_ASSIGN_OR_RETURN(const pqxx::result rows, connection.run(sql::kListBatches, params));
  std::vector<Batch> batches;
  for (const auto& row : rows) batches.push_back(parse_batch(row));
  return batches;
}

}  // namespace parkd
