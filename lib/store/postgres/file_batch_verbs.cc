#include "lib/store/postgres/file_batch_verbs.h"

#include <set>
#include <utility>

#include "lib/store/batch_rules.h"
#include "lib/store/postgres/pg_text.h"
#include "lib/store/postgres/rows.h"
#include "lib/store/postgres/statements.h"

namespace parkd {
namespace {

std::string bool_text(bool value) {
  return value ? "t" : "f";
}

// The batch that a daemon is given for `hold`, if there is one.
template <class Request>
Result<std::optional<Batch>> next_held(Connection& connection, const Statement& statement,
                                       const Request& request, Now now) {
  ArrayText passed_over;
  for (const std::string& id : request.passed_over) passed_over.add(encode_text(id));
  ArrayText tenants;
  for (const std::string& tenant : request.tenants_passed_over) tenants.add(encode_text(tenant));
  Params params;
  params.add(encode_text(request.daemon))
      .add(request.hold.count())
      .add(passed_over.take())
      .add(tenants.take())
      .add(now);
  PARKD_ASSIGN_OR_RETURN(const pqxx::result rows, connection.run(statement, params));
  return rows.empty() ? std::nullopt : std::optional(parse_batch(rows[0]));
}

// The one row of a verb that changes a batch of a file.
Result<Batch> file_batch_of(const pqxx::result& rows, const std::string& id) {
  if (rows.empty()) return no_such_batch(id);
  Batch batch = parse_batch(rows[0]);
  if (!batch.spec.file) return not_of_a_file(id);
  return batch;
}

bool may_be_no_line(const JobSpec& spec) {
  return !spec.batch_id.empty() && !is_line(spec);
}

}  // namespace

Result<std::optional<Batch>> next_batch_work_row(Connection& connection,
                                                 const BatchWorkRequest& request, Now now) {
  return next_held(connection, sql::kNextBatchWork, request, now);
}

Result<Batch> advance_batch_row(Connection& connection, const std::string& id,
                                const FileProgress& progress, Now now) {
  Params params;
  params.add(encode_text(id))
      .add(std::string(to_string(progress.stage)))
      .add(encode_text(progress.model))
      .add(progress.lines)
      .add(progress.reached);
  progress.faults.empty() ? params.add_null() : params.add(faults_text(progress.faults));
  for (const ResultFile* file : {&progress.output, &progress.errors}) {
    params.add(file->lines).add(file->bytes).add(bool_text(file->deleted));
  }
  params.add(progress.usage.input)
      .add(progress.usage.cached)
      .add(progress.usage.output)
      .add(progress.usage.reasoning)
      .add(now);
  PARKD_ASSIGN_OR_RETURN(const pqxx::result rows, connection.run(sql::kAdvanceBatch, params));
  return file_batch_of(rows, id);
}

Result<std::optional<Batch>> next_webhook_row(Connection& connection, const WebhookRequest& request,
                                              Now now) {
  return next_held(connection, sql::kNextWebhook, request, now);
}

Result<Batch> note_webhook_row(Connection& connection, const std::string& id,
                               const WebhookAttempt& attempt, Now now) {
  Params params;
  params.add(encode_text(id))
      .add(int64_t{attempt.number})
      .add(std::string(to_string(attempt.status)))
      .add(int64_t{attempt.pause.count()})
      .add(encode_text(kept_error(attempt)))
      .add(now);
  PARKD_ASSIGN_OR_RETURN(const pqxx::result rows, connection.run(sql::kNoteWebhook, params));
  return file_batch_of(rows, id);
}

Result<std::vector<Status>> refused_by_files(Connection& connection,
                                             const std::vector<SubmitGroup>& groups) {
  std::vector<Status> refusals(groups.size());
  std::set<std::string> asked;
  for (const SubmitGroup& group : groups) {
    for (const JobSpec& spec : *group.jobs) {
      if (may_be_no_line(spec)) asked.insert(spec.batch_id);
    }
  }
  if (asked.empty()) return refusals;
  ArrayText ids;
  for (const std::string& id : asked) ids.add(encode_text(id));
  PARKD_ASSIGN_OR_RETURN(const pqxx::result rows,
                         connection.run(sql::kFilesOfBatches, Params().add(ids.take())));
  std::map<std::pair<std::string, std::string>, std::string> files;  // by tenant and batch
  for (const auto& row : rows) {
    files[{text(row, "tenant"), text(row, "id")}] = text(row, "input_file_id");
  }
  for (size_t g = 0; g < groups.size(); ++g) {
    for (size_t i = 0; i < groups[g].jobs->size() && refusals[g].ok(); ++i) {
      const JobSpec& spec = (*groups[g].jobs)[i];
      if (!may_be_no_line(spec)) continue;
      const auto found = files.find({spec.tenant, spec.batch_id});
      if (found != files.end()) refusals[g] = batch_is_of_a_file(i, spec.batch_id, found->second);
    }
  }
  return refusals;
}

}  // namespace parkd
