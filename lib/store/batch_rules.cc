#include "lib/store/batch_rules.h"

#include <algorithm>
#include <utility>

#include "lib/base/text.h"
#include "lib/store/rules.h"
#include "lib/store/store_options.h"

namespace parkd {
namespace {

std::string job_field(size_t index, std::string_view field) {
  return "jobs[" + std::to_string(index) + "]." + std::string(field);
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
  if (spec.deadline && *spec.deadline <= now) {
    return invalid_param("deadline", "deadline " + to_rfc3339(*spec.deadline) +
                                         " has passed: it is " + to_rfc3339(now));
  }
  if (spec.deadline && *spec.deadline > now + kBatchDeadlineMax) {
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

Status check_member(const Batch& batch, const JobSpec& spec, size_t index, int64_t n_new,
                    const StoreOptions& options, WallTime now) {
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
                  to_rfc3339(deadline) + ", has passed")
      .with_param(field);
}

Status batch_is_full(size_t index, std::string_view batch_id, int64_t total, int64_t n_new,
                     int64_t limit) {
  const std::string field = job_field(index, "batch_id");
  return invalid_param(field, field + ": batch " + std::string(batch_id) + " has " +
                                  std::to_string(total) + " jobs and would get " +
                                  std::to_string(n_new) + " more; the limit is " +
                                  std::to_string(limit) + " a batch");
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
