#include "lib/store/rules.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include "lib/base/text.h"
#include "lib/base/units.h"
#include "lib/job/ending_codes.h"
#include "lib/job/job_texts.h"

namespace parkd {
namespace {

bool is_sane(const std::optional<WallTime>& time) {
  return !time || (to_unix_us(*time) >= 0 && to_unix_us(*time) <= kTimeMaxUs);
}

std::string param(size_t index, std::string_view field) {
  return "jobs[" + std::to_string(index) + "]." + std::string(field);
}

// Fits PostgreSQL's bigint, and is never "no group".
uint64_t new_group_name() {
  return (random_u64() >> 1) | 1;
}

Status refuse(size_t index, std::string_view field, const std::string& why) {
  return invalid_param(param(index, field), param(index, field) + " " + why);
}

Status check_times(const JobSpec& spec, size_t index) {
  if (!is_sane(spec.run_at)) return refuse(index, "run_at", "is not within the years 1970 to 9999");
  if (!is_sane(spec.deadline)) {
    return refuse(index, "deadline", "is not within the years 1970 to 9999");
  }
  if (spec.run_timeout &&
      (*spec.run_timeout < kRunTimeoutMin || *spec.run_timeout > kRunTimeoutMax)) {
    return refuse(index, "run_timeout",
                  std::to_string(spec.run_timeout->count()) + " s is not within 1 to " +
                      std::to_string(kRunTimeoutMax.count()) + " s");
  }
  return check_retention(spec.retention, param(index, "retention"));
}

Status check_texts(const JobSpec& spec, size_t index) {
  for (const auto& [field, text] : kJobTexts) {
    if ((spec.*text).size() > kTextBytesMax) {
      return refuse(index, field,
                    "has " + std::to_string((spec.*text).size()) + " bytes; the limit is " +
                        std::to_string(kTextBytesMax));
    }
  }
  if (spec.metadata.size() > kMetadataBytesMax) {
    return refuse(index, "metadata",
                  "has " + std::to_string(spec.metadata.size()) + " bytes; the limit is " +
                      std::to_string(kMetadataBytesMax));
  }
  return {};
}

Status check_spec(const JobSpec& spec, size_t index) {
  if (spec.model.empty()) return refuse(index, "model", "is empty");
  if (spec.tenant.empty()) return refuse(index, "tenant", "is empty");
  if (spec.priority > Priority::low) return refuse(index, "priority", "is none of the four words");
  if (spec.max_attempts < 1 || spec.max_attempts > kAttemptsMax) {
    return refuse(
        index, "max_attempts",
        std::to_string(spec.max_attempts) + " is not within 1 to " + std::to_string(kAttemptsMax));
  }
  if (spec.n_choices < 1) {
    return refuse(index, "n_choices", std::to_string(spec.n_choices) + " is below 1");
  }
  if (spec.prompt_tokens < 0) return refuse(index, "prompt_tokens", "is negative");
  if (spec.max_new_tokens < 0) return refuse(index, "max_new_tokens", "is negative");
  PARKD_RETURN_IF_ERROR(check_texts(spec, index));
  return check_times(spec, index);
}

}  // namespace

bool may_act(std::string_view asked_by, std::string_view tenant) {
  return asked_by.empty() || asked_by == tenant;
}

int64_t page_bytes(const Message& message) {
  return static_cast<int64_t>(message.ending.body.size() + message.metadata.size());
}

bool cut_page(std::vector<Message>& messages, const FetchRequest& request) {
  const auto limit = static_cast<size_t>(std::max(request.limit, 0));
  size_t n = 0;
  int64_t bytes = 0;
  for (; n < messages.size() && n < limit && bytes <= request.bytes_max; ++n) {
    bytes += page_bytes(messages[n]);
  }
  const bool is_beyond = bytes > request.bytes_max;
  if (is_beyond && n > 1) --n;
  messages.erase(messages.begin() + static_cast<std::ptrdiff_t>(n), messages.end());
  return is_beyond || n >= limit;
}

Status check_submission(const std::vector<JobSpec>& jobs, const StoreOptions& options) {
  if (jobs.empty()) return invalid_param("jobs", "jobs is empty");
  const auto n_jobs = static_cast<int64_t>(jobs.size());
  if (n_jobs > options.batch_jobs_max) {
    return invalid_param("jobs", "jobs has " + std::to_string(n_jobs) + " entries; the limit is " +
                                     std::to_string(options.batch_jobs_max));
  }
  for (size_t i = 0; i < jobs.size(); ++i) {
    PARKD_RETURN_IF_ERROR(check_spec(jobs[i], i));
  }
  return {};
}

Status check_new(const JobSpec& spec, size_t index, WallTime now) {
  if (!spec.deadline) return {};
  if (*spec.deadline <= now) {
    return refuse(index, "deadline",
                  to_rfc3339(*spec.deadline) + " has passed: it is " + to_rfc3339(now));
  }
  if (!spec.run_at || *spec.run_at < *spec.deadline) return {};
  return refuse(index, "run_at",
                to_rfc3339(*spec.run_at) + " is not before the deadline, " +
                    to_rfc3339(*spec.deadline) +
                    ": the job would never run; give an earlier run_at, or a later deadline");
}

Status check_retention(const std::optional<std::chrono::seconds>& retention,
                       std::string_view field) {
  if (!retention || (*retention >= kRetentionMin && *retention <= kRetentionMax)) return {};
  return invalid_param(std::string(field),
                       std::string(field) + " " + std::to_string(retention->count()) +
                           " s is not within " + std::to_string(kRetentionMin.count()) + " to " +
                           std::to_string(kRetentionMax.count()) + " s");
}

Status key_has_other_content(size_t index, std::string_view idempotency_key, JobId id) {
  const std::string field = param(index, "idempotency_key");
  return conflict(field + " " + std::string(idempotency_key) + " belongs to job " +
                  std::to_string(id) + ", whose content differs")
      .with_param(field);
}

bool is_listed(const ListFilter& filter, const Job& job) {
  const auto is = [](const std::optional<std::string>& wanted, const std::string& text) {
    return !wanted || *wanted == text;
  };
  return is(filter.tenant, job.spec.tenant) && is(filter.model, job.spec.model) &&
         is(filter.batch_id, job.spec.batch_id) && is(filter.mailbox_key, job.spec.mailbox_key) &&
         is(filter.custom_id, job.spec.custom_id) && (!filter.state || *filter.state == job.state);
}

Status check_requeue(const RequeueRequest& request) {
  if (request.error_codes.size() > kRequeueCodesMax) {
    return invalid_param("failed_with", "requeue takes " + std::to_string(kRequeueCodesMax) +
                                            " error codes at most, not " +
                                            std::to_string(request.error_codes.size()));
  }
  if (!request.ids.empty() && !request.batch_id.empty()) {
    return invalid_param("batch_id", "requeue takes ids or a batch, not both");
  }
  const bool is_bounded =
      !request.ids.empty() || !request.error_codes.empty() || !request.batch_id.empty();
  if (is_bounded) return {};
  return invalid_param("ids",
                       "requeue needs ids, error codes or a batch, or it would requeue everything");
}

JobSpec requeued_spec(JobSpec spec) {
  spec.batch_id.clear();
  spec.idempotency_key.clear();
  spec.run_at.reset();
  spec.deadline.reset();
  return spec;
}

Job new_job(JobSpec spec, JobId id, WallTime now, const StoreOptions& options) {
  Job job;
  job.id = id;
  job.spec = std::move(spec);
  if (job.spec.mailbox_key.empty()) job.spec.mailbox_key = "mb-" + random_hex(12);
  if (!job.spec.seed) job.spec.seed = random_u64();
  if (!job.spec.retention) job.spec.retention = options.retention_default;
  job.created_at = now;
  job.order_key = order_key_of(job.spec, now);
  job.state = job.spec.run_at && *job.spec.run_at > now ? JobState::scheduled : JobState::queued;
  return job;
}

Message message_of(const Job& job, RunLease lease, Ending ending, uint64_t sequence, WallTime now) {
  Message message;
  message.sequence = sequence;
  message.job_id = job.id;
  message.lease = lease;
  message.tenant = job.spec.tenant;
  message.mailbox_key = job.spec.mailbox_key;
  message.model = job.spec.model;
  message.custom_id = job.spec.custom_id;
  message.batch_id = job.spec.batch_id;
  message.metadata = job.spec.metadata;
  message.attempts = job.attempts;
  if (ending.outcome == Outcome::failed && is_retryable(ending.error_code)) ++message.attempts;
  message.ending = std::move(ending);
  message.created_at = job.created_at;
  message.finished_at = now;
  const std::chrono::seconds retention = job.spec.retention.value_or(kRetentionMin);
  message.expires_at = now + retention;
  if (!job.spec.batch_id.empty() && job.spec.deadline) {
    // A member that is done early stays until the reader of the whole batch can have come.
    message.expires_at = std::max(message.expires_at, *job.spec.deadline + retention);
    message.expires_at = std::min(message.expires_at, now + kMessageLifeMax);
  }
  return message;
}

HistoryRow history_of(const Message& message) {
  HistoryRow row;
  row.job_id = message.job_id;
  row.tenant = message.tenant;
  row.custom_id = message.custom_id;
  row.model = message.model;
  row.outcome = message.ending.outcome;
  row.error_code = message.ending.error_code;
  row.prompt_tokens = message.ending.prompt_tokens;
  row.completion_tokens = message.ending.completion_tokens;
  row.created_at = message.created_at;
  row.finished_at = message.finished_at;
  return row;
}

WallTime history_expires_at(const Message& message, const StoreOptions& options) {
  return message.expires_at + options.history_retention;
}

WallTime idempotency_expires_at(const Job& job, WallTime finished_at, const StoreOptions& options) {
  return finished_at +
         std::max(job.spec.retention.value_or(kRetentionMin), options.idempotency_retention_min);
}

Ending settled_ending(Ending ending, const std::optional<WallTime>& deadline, WallTime now) {
  const bool is_run = ending.outcome == Outcome::completed || ending.outcome == Outcome::failed;
  if (!is_run || !deadline || now <= *deadline) return ending;
  return late_ending(std::move(ending));
}

Ending late_ending(Ending ending) {
  const EndingCode& late = *find_ending_code(failure::kDeadlineMissed);
  ending.outcome = late.outcome;
  ending.error_code = late.code;
  ending.error_message = "the job's deadline passed before it was done";
  ending.error_param.clear();
  ending.status_code = late.http_status;
  return ending;
}

FinishAnswer finish_answer(FinishAnswer answer, Outcome given, Outcome written) {
  const bool is_late = written == Outcome::deadline_missed && given != written;
  return is_late ? FinishAnswer::finished_late : answer;
}

Ending cancelled_ending() {
  return ended_as(failure::kCancelled, "the job was cancelled before it ran");
}

Ending deadline_missed_ending() {
  return ended_as(failure::kDeadlineMissed, "the deadline passed before the job ran");
}

Ending quarantined_ending() {
  return ended_as(
      failure::kQuarantined,
      "the process died twice with only this job in the engine; requeue it to try again");
}

// --- poison

DeathVerdict judge_death(const DeathReport& report, const std::vector<Job*>& live) {
  std::map<JobId, RunLease> present;
  for (const DeathNote& note : report.present) {
    RunLease& lease = present[note.id];
    lease = std::max(lease, note.lease);
  }
  std::map<JobId, Job*> accused;
  DeathVerdict verdict;
  for (Job* job : live) {
    const auto note = present.find(job->id);
    if (note == present.end() || note->second <= job->noted_lease) continue;
    job->noted_lease = note->second;
    ++job->interruptions;
    verdict.changed.push_back(job->id);
    if (report.noted || job->interruptions >= kSilentDeathsMax) accused[job->id] = job;
  }
  // Counted among all that were there: one whose neighbours have ended meanwhile was not alone.
  const bool alone = present.size() == 1;
  const uint64_t groups[] = {new_group_name(), new_group_name()};
  const int64_t n_first = ceil_div(static_cast<int64_t>(accused.size()), 2);
  int64_t place = 0;
  for (auto& [id, job] : accused) {
    job->suspect_group = groups[place++ < n_first ? 0 : 1];
    job->deaths_alone += alone ? 1 : 0;
    const bool is_poison = job->deaths_alone >= kDeathsAloneMax;
    (is_poison ? verdict.quarantined : verdict.suspects).push_back(id);
  }
  return verdict;
}

void clear_poison_notes(Job& job) {
  job.interruptions = 0;
  job.deaths_alone = 0;
  job.suspect_group = 0;
}

}  // namespace parkd
