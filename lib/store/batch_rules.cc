#include "lib/store/batch_rules.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "lib/base/text.h"
#include "lib/store/batch_store.h"
#include "lib/store/rules.h"
#include "lib/store/store_options.h"

namespace parkd {
namespace {

std::string job_field(size_t index, std::string_view field) {
  return "jobs[" + std::to_string(index) + "]." + std::string(field);
}

bool has(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

Status check_batch(const BatchSpec& spec, WallTime now) {
  if (spec.tenant.empty()) return invalid_param("tenant", "tenant is empty");
  if (spec.name.size() > kBatchNameBytesMax) {
    return invalid_param("name", "name has " + std::to_string(spec.name.size()) +
                                     " bytes, the limit is " + std::to_string(kBatchNameBytesMax));
  }
  if (spec.metadata.size() > kBatchMetadataBytesMax) {
    return invalid_param("metadata", "metadata has " + std::to_string(spec.metadata.size()) +
                                         " bytes, the limit is " +
                                         std::to_string(kBatchMetadataBytesMax));
  }
  if (spec.idempotency_key.size() > kTextBytesMax) {
    return invalid_param("idempotency_key",
                         "idempotency_key has " + std::to_string(spec.idempotency_key.size()) +
                             " bytes, the limit is " + std::to_string(kTextBytesMax));
  }
  if (spec.file && spec.file->webhook_url.size() > kWebhookUrlBytesMax) {
    return invalid_param("webhook_url",
                         "webhook_url has " + std::to_string(spec.file->webhook_url.size()) +
                             " bytes, the limit is " + std::to_string(kWebhookUrlBytesMax));
  }
  if (spec.deadline && *spec.deadline <= now) {
    return invalid_param("deadline", "deadline " + to_rfc3339(*spec.deadline) +
                                         " has passed: it is " + to_rfc3339(now));
  }
  // Of a batch of a file it comes of the completion_window, which was checked, and of the daemon's
  // clock, which need not be the store's.
  if (!spec.file && spec.deadline && *spec.deadline > now + kBatchDeadlineMax) {
    return invalid_param("deadline", "deadline " + to_rfc3339(*spec.deadline) +
                                         " is more than 30 days ahead, the limit of a batch");
  }
  return check_retention(spec.retention, "retention");
}

Batch new_batch(BatchSpec spec, WallTime now, const StoreOptions& options) {
  Batch batch;
  batch.id = "batch_" + random_hex(16);
  batch.spec = std::move(spec);
  if (!batch.spec.deadline) batch.spec.deadline = now + kBatchDeadlineDefault;
  if (!batch.spec.retention) batch.spec.retention = options.retention_default;
  batch.created_at = now;
  return batch;
}

std::string line_key(std::string_view batch_id, int64_t offset) {
  return std::string(batch_id) + ":" + std::to_string(offset);
}

bool is_line(const JobSpec& spec) {
  return spec.mailbox_key == spec.batch_id &&
         spec.idempotency_key.rfind(spec.batch_id + ":", 0) == 0;
}

Status check_member(const Batch& batch, const JobSpec& spec, size_t index, int64_t n_new,
                    const StoreOptions& options, WallTime now) {
  if (batch.spec.file && !is_line(spec)) {
    return batch_is_of_a_file(index, batch.id, batch.spec.file->input_file_id);
  }
  if (batch.sealed_at) return batch_is_sealed(index, batch.id);
  if (*batch.spec.deadline <= now) return batch_is_over(index, batch.id, *batch.spec.deadline);
  if (spec.deadline && spec.deadline != batch.spec.deadline) {
    return deadline_is_its_batchs(index, batch.id);
  }
  if (spec.run_at && *spec.run_at >= *batch.spec.deadline) {
    return member_never_runs(index, batch.id, *spec.run_at, *batch.spec.deadline);
  }
  if (batch.total + n_new > options.batch_jobs_max) {
    return batch_is_full(index, batch.id, batch.total, n_new, options.batch_jobs_max);
  }
  return {};
}

Status batch_is_sealed(size_t index, std::string_view batch_id) {
  const std::string field = job_field(index, "batch_id");
  return conflict(field + ": batch " + std::string(batch_id) +
                  " is sealed and takes no more jobs: open a new one")
      .with_param(field);
}

Status batch_is_over(size_t index, std::string_view batch_id, WallTime deadline) {
  const std::string field = job_field(index, "batch_id");
  return conflict(field + ": the deadline of batch " + std::string(batch_id) + ", " +
                  to_rfc3339(deadline) + ", has passed: open a new one")
      .with_param(field);
}

Status batch_is_full(size_t index, std::string_view batch_id, int64_t total, int64_t n_new,
                     int64_t limit) {
  const std::string field = job_field(index, "batch_id");
  return invalid_param(field, field + ": batch " + std::string(batch_id) + " has " +
                                  std::to_string(total) + " jobs and would get " +
                                  std::to_string(n_new) + " more; the limit is " +
                                  std::to_string(limit) + " a batch: open another for the rest");
}

Status deadline_is_its_batchs(size_t index, std::string_view batch_id) {
  const std::string field = job_field(index, "deadline");
  return invalid_param(field, field + " differs from the deadline of batch " +
                                  std::string(batch_id) + ", which is its members': leave it out");
}

Status member_never_runs(size_t index, std::string_view batch_id, WallTime run_at,
                         WallTime deadline) {
  const std::string field = job_field(index, "run_at");
  return invalid_param(field, field + " " + to_rfc3339(run_at) +
                                  " is not before the deadline of batch " + std::string(batch_id) +
                                  ", " + to_rfc3339(deadline) +
                                  ": the job would never run; give an earlier run_at");
}

Status batch_is_of_a_file(size_t index, std::string_view batch_id, std::string_view file_id) {
  const std::string field = job_field(index, "batch_id");
  return conflict(field + ": batch " + std::string(batch_id) + " takes the lines of file " +
                  std::string(file_id) + " and no other jobs: open a batch of your own")
      .with_param(field);
}

Status no_such_batch(std::string_view batch_id) {
  return not_found("there is no batch " + std::string(batch_id)).with_param("batch_id");
}

Status no_batch_to_list_after(std::string_view batch_id) {
  return invalid_param("after", "after: there is no batch " + std::string(batch_id));
}

Status batch_key_has_other_content(std::string_view idempotency_key, std::string_view batch_id) {
  return conflict("idempotency_key " + std::string(idempotency_key) + " belongs to batch " +
                  std::string(batch_id) + ", whose content differs")
      .with_param("idempotency_key");
}

void become_member(JobSpec& spec, const Batch& batch) {
  spec.deadline = batch.spec.deadline;
  if (!spec.retention) spec.retention = batch.spec.retention;
}

void count_end(Batch& batch, const Ending& ending, WallTime now) {
  switch (ending.outcome) {
    case Outcome::completed:
      ++batch.completed;
      if (ending.truncated) ++batch.truncated;
      break;
    case Outcome::failed:
      ++batch.failed;
      break;
    case Outcome::cancelled:
      ++batch.cancelled;
      break;
    case Outcome::deadline_missed:
      ++batch.deadline_missed;
      break;
    case Outcome::quarantined:
      ++batch.quarantined;
      break;
  }
  if (batch.sealed_at && batch.unfinished() == 0) batch.finished_at = now;
}

void seal(Batch& batch, WallTime now) {
  if (batch.sealed_at) return;
  batch.sealed_at = now;
  if (batch.unfinished() == 0) batch.finished_at = now;
}

void advance(Batch& batch, FileProgress to, WallTime now) {
  FileProgress& at = batch.progress;
  to.output.deleted |= at.output.deleted;
  to.errors.deleted |= at.errors.deleted;
  if (at.stage == FileStage::ended && to.stage == FileStage::ended) {
    at.output.deleted = to.output.deleted;
    at.errors.deleted = to.errors.deleted;
    return;
  }
  if (batch.sealed_at && at.stage <= FileStage::expanding &&
      (to.stage == FileStage::expanding || to.stage == FileStage::failed)) {
    to.stage = FileStage::running;
    to.faults.clear();
  }
  const bool is_back = to.stage < at.stage || (to.stage == at.stage && to.reached < at.reached);
  const bool may_fail = at.stage == FileStage::validating;
  if (is_back || (to.stage == FileStage::failed && !may_fail)) return;
  if (to.stage == FileStage::ended && !batch.finished_at) return;
  to.validated_at = at.validated_at;
  to.ended_at = at.ended_at;
  if (!to.validated_at && to.stage != FileStage::validating) to.validated_at = now;
  if (!to.ended_at && to.stage == FileStage::ended) to.ended_at = now;
  const bool is_over = to.stage >= FileStage::ended && at.stage < FileStage::ended;
  at = std::move(to);
  if (at.stage >= FileStage::running) seal(batch, now);
  if (is_over && !batch.spec.file->webhook_url.empty()) batch.webhook.next_attempt_at = now;
}

Status not_of_a_file(std::string_view batch_id) {
  return not_found("batch " + std::string(batch_id) + " is none of a file").with_param("batch_id");
}

Status results_are_kept(const Batch& batch) {
  return conflict("the messages of mailbox key " + batch.result_key() +
                  " are the lines of the batch's output and error file: read those files, and "
                  "delete them when they are not wanted any more")
      .with_param("mailbox_key");
}

bool is_wanted(const Batch& batch, const BatchWorkRequest& request) {
  if (!batch.needs_daemon() || has(request.passed_over, batch.id)) return false;
  return batch.progress.stage == FileStage::running ||
         !has(request.tenants_passed_over, batch.spec.tenant);
}

bool is_older(const Batch& a, const Batch& b) {
  return is_newer(b, a);
}

bool is_due(const Batch& batch, const WebhookRequest& request, WallTime now) {
  const auto& at = batch.webhook.next_attempt_at;
  return at && *at <= now && !has(request.passed_over, batch.id) &&
         !has(request.tenants_passed_over, batch.spec.tenant);
}

bool is_due_before(const Batch& a, const Batch& b) {
  return std::tie(*a.webhook.next_attempt_at, a.id) < std::tie(*b.webhook.next_attempt_at, b.id);
}

void note_attempt(Batch& batch, const WebhookAttempt& attempt, WallTime now) {
  WebhookState& at = batch.webhook;
  if (!at.next_attempt_at) return;
  const bool is_delivered = attempt.status == WebhookStatus::delivered;
  if (!is_delivered && attempt.number != at.attempts + 1) return;
  at.status = attempt.status;
  at.attempts = std::max(at.attempts, attempt.number);
  at.next_attempt_at.reset();
  if (attempt.status == WebhookStatus::pending) at.next_attempt_at = now + attempt.pause;
  if (is_delivered) at.delivered_at = now;
  if (!attempt.error.empty()) at.last_error = kept_error(attempt);
}

std::string_view kept_error(const WebhookAttempt& attempt) {
  return std::string_view(attempt.error).substr(0, kWebhookErrorBytesMax);
}

bool is_listed(const Batch& batch, const BatchFilter& filter) {
  if (filter.tenant && *filter.tenant != batch.spec.tenant) return false;
  if (filter.of_file && *filter.of_file != batch.spec.file.has_value()) return false;
  if (filter.reads_file.empty()) return true;
  return batch.reads_file() && batch.spec.file->input_file_id == filter.reads_file;
}

bool is_newer(const Batch& a, const Batch& b) {
  return std::pair(a.created_at, std::string_view(a.id)) >
         std::pair(b.created_at, std::string_view(b.id));
}

std::optional<WallTime> batch_expires_at(const Batch& batch, const StoreOptions& options) {
  if (!batch.finished_at) return std::nullopt;
  return std::max(*batch.finished_at, *batch.spec.deadline) + *batch.spec.retention +
         options.history_retention;
}

}  // namespace parkd
