// Rows of results as our values: the columns of each kind of row, and readers of what is asked for
// by name.
//
// Pure functions, any thread. tests/store/postgres/columns_test.cc: every member has a column.
#pragma once

#include <chrono>
#include <cstdint>
#include <pqxx/result>
#include <pqxx/row>
#include <string>
#include <string_view>
#include <vector>

#include "lib/job/batch.h"
#include "lib/job/job.h"
#include "lib/job/stored_file.h"
#include "lib/store/postgres/columns.h"

namespace parkd {

// Of parkd.jobs; the other source is parkd.claimed_job. $1: now, or NULL.
inline constexpr Column<Job> kJobColumns[] = {
    {"id", [](const Field& f, Job& job) { job.id = f.id(); }},
    {"run_lease", [](const Field& f, Job& job) { job.lease = f.lease(); }},
    {"parkd.us_v1(created_at)", [](const Field& f, Job& job) { job.created_at = f.time(); },
     "created_us"},
    {"parkd.us_v1(order_key)", [](const Field& f, Job& job) { job.order_key = f.time(); },
     "order_us"},
    {"parkd.us_v1(run_at)", [](const Field& f, Job& job) { job.spec.run_at = f.optional_time(); },
     "run_at_us"},
    {"parkd.us_v1(deadline)",
     [](const Field& f, Job& job) { job.spec.deadline = f.optional_time(); }, "deadline_us"},
    {"parkd.us_v1(claimed_at)", [](const Field& f, Job& job) { job.claimed_at = f.time(); },
     "claimed_us"},
    {"seed", [](const Field& f, Job& job) { job.spec.seed = f.id(); }},
    {"(date_part('epoch', retention) * 1e6)::bigint",
     [](const Field& f, Job& job) {
       job.spec.retention = std::chrono::duration_cast<std::chrono::seconds>(Micros(f.integer()));
     },
     "retention_us"},
    {"date_part('epoch', run_timeout)::bigint",
     [](const Field& f, Job& job) { job.spec.run_timeout = f.optional_seconds(); },
     "run_timeout_s"},
    {"prompt_tokens", [](const Field& f, Job& job) { job.spec.prompt_tokens = f.small(); }},
    // NULL: left out by SQL; known when its prompt has been counted.
    {"max_new_tokens", [](const Field& f, Job& job) { job.spec.max_new_tokens = f.small(); }},
    {"n_choices", [](const Field& f, Job& job) { job.spec.n_choices = f.small(); }},
    {"attempts", [](const Field& f, Job& job) { job.attempts = f.small(); }},
    {"max_attempts", [](const Field& f, Job& job) { job.spec.max_attempts = f.small(); }},
    {"interruptions", [](const Field& f, Job& job) { job.interruptions = f.small(); }},
    {"priority",
     [](const Field& f, Job& job) {
       job.spec.priority = priority_from_string(f.bytes).value_or(Priority::normal);
     }},
    {"tokens_are_exact", [](const Field& f, Job& job) { job.spec.tokens_are_exact = f.flag(); }},
    {"model", [](const Field& f, Job& job) { job.spec.model = f.text(); }},
    {"tenant", [](const Field& f, Job& job) { job.spec.tenant = f.text(); }},
    {"mailbox_key", [](const Field& f, Job& job) { job.spec.mailbox_key = f.text(); }},
    {"endpoint", [](const Field& f, Job& job) { job.spec.endpoint = f.text(); }},
    {"custom_id", [](const Field& f, Job& job) { job.spec.custom_id = f.text(); }},
    {"batch_id", [](const Field& f, Job& job) { job.spec.batch_id = f.text(); }},
    {"idempotency_key", [](const Field& f, Job& job) { job.spec.idempotency_key = f.text(); }},
    {"metadata", [](const Field& f, Job& job) { job.spec.metadata = f.raw(); }},
    {"body", [](const Field& f, Job& job) { job.spec.body = f.raw(); }},
    {"requeued_from", [](const Field& f, Job& job) { job.requeued_from = f.id(); }},
    {"CASE WHEN state = 'scheduled' AND run_at <= parkd.from_us_v1($1) THEN 'queued' ELSE "
     "state::text END",
     [](const Field& f, Job& job) {
       job.state = f.bytes == "claimed"      ? JobState::claimed
                   : f.bytes == "scheduled"  ? JobState::scheduled
                   : f.bytes == "cancelling" ? JobState::cancelling
                                             : JobState::queued;
     },
     "'claimed'"},
    {"deaths_alone", [](const Field& f, Job& job) { job.deaths_alone = f.small(); }},
    {"suspect_group", [](const Field& f, Job& job) { job.suspect_group = f.id(); }},
    {"noted_lease", [](const Field& f, Job& job) { job.noted_lease = f.lease(); }},
};

// SQL of FetchRequest's page of the messages in `source`, by `sequence`: no more bytes than
// `bytes_max` but one row at least, with n_there of the source.
constexpr std::string page_of(const std::string& source, const std::string& sequence,
                              const std::string& bytes_max) {
  return "(SELECT f.*, row_number() OVER w AS nth, sum(octet_length(coalesce(f.body::text, '')) + "
         "octet_length(coalesce(f.metadata::text, ''))) OVER w AS n_bytes, count(*) OVER () AS "
         "n_there FROM " +
         source + " f WINDOW w AS (ORDER BY f." + sequence +
         ")) page WHERE nth = 1 OR n_bytes <= " + bytes_max + "::bigint";
}

// Of parkd.mailbox; the other source is a mailbox under the names that an embedded store gave.
inline constexpr Column<Message> kMessageColumns[] = {
    {"sequence", [](const Field& f, Message& m) { m.sequence = f.id(); }, "origin_sequence"},
    {"job_id", [](const Field& f, Message& m) { m.job_id = f.id(); }, "origin_job"},
    {"run_lease", [](const Field& f, Message& m) { m.lease = f.lease(); }},
    {"parkd.us_v1(created_at)", [](const Field& f, Message& m) { m.created_at = f.time(); }},
    {"parkd.us_v1(finished_at)", [](const Field& f, Message& m) { m.finished_at = f.time(); }},
    {"parkd.us_v1(expires_at)", [](const Field& f, Message& m) { m.expires_at = f.time(); }},
    {"queue_us", [](const Field& f, Message& m) { m.ending.queue_us = f.integer(); }},
    {"run_us", [](const Field& f, Message& m) { m.ending.run_us = f.integer(); }},
    {"units", [](const Field& f, Message& m) { m.ending.units = f.integer(); }},
    {"prompt_tokens", [](const Field& f, Message& m) { m.ending.prompt_tokens = f.small(); }},
    {"completion_tokens",
     [](const Field& f, Message& m) { m.ending.completion_tokens = f.small(); }},
    {"status_code", [](const Field& f, Message& m) { m.ending.status_code = f.small(); }},
    {"attempts", [](const Field& f, Message& m) { m.attempts = f.small(); }},
    {"outcome",
     [](const Field& f, Message& m) {
       m.ending.outcome = outcome_from_string(f.bytes).value_or(Outcome::failed);
     }},
    {"tenant", [](const Field& f, Message& m) { m.tenant = f.text(); }},
    {"mailbox_key", [](const Field& f, Message& m) { m.mailbox_key = f.text(); }},
    {"model", [](const Field& f, Message& m) { m.model = f.text(); }},
    {"custom_id", [](const Field& f, Message& m) { m.custom_id = f.text(); }},
    {"batch_id", [](const Field& f, Message& m) { m.batch_id = f.text(); }},
    {"error_code", [](const Field& f, Message& m) { m.ending.error_code = f.raw(); }},
    {"error_message", [](const Field& f, Message& m) { m.ending.error_message = f.raw(); }},
    {"error_param", [](const Field& f, Message& m) { m.ending.error_param = f.raw(); }},
    {"metadata", [](const Field& f, Message& m) { m.metadata = f.raw(); }},
    {"body", [](const Field& f, Message& m) { m.ending.body = unwrap_json_string(f.raw()); }},
};

// Of parkd.history; the other source is parkd.past.
inline constexpr Column<HistoryRow> kHistoryColumns[] = {
    {"job_id", [](const Field& f, HistoryRow& h) { h.job_id = f.id(); }, "id"},
    {"tenant", [](const Field& f, HistoryRow& h) { h.tenant = f.text(); }},
    {"custom_id", [](const Field& f, HistoryRow& h) { h.custom_id = f.text(); }},
    {"model", [](const Field& f, HistoryRow& h) { h.model = f.text(); }},
    {"outcome",
     [](const Field& f, HistoryRow& h) {
       h.outcome = outcome_from_string(f.bytes).value_or(Outcome::failed);
     }},
    {"error_code", [](const Field& f, HistoryRow& h) { h.error_code = f.raw(); }},
    {"prompt_tokens", [](const Field& f, HistoryRow& h) { h.prompt_tokens = f.small(); }},
    {"completion_tokens", [](const Field& f, HistoryRow& h) { h.completion_tokens = f.small(); }},
    {"parkd.us_v1(created_at)", [](const Field& f, HistoryRow& h) { h.created_at = f.time(); }},
    {"parkd.us_v1(finished_at)", [](const Field& f, HistoryRow& h) { h.finished_at = f.time(); }},
};

FileStage file_stage_of(std::string_view word);
WebhookStatus webhook_status_of(std::string_view word);
// parkd.file_batches.faults. What is not such a list throws: a hand wrote it.
std::string faults_text(const std::vector<BatchFault>& faults);
std::vector<BatchFault> faults_of(std::string_view text);

// Of parkd.batches and, where it is of a file, parkd.file_batches; the other source is
// parkd.batch_status, which names no key.
inline constexpr Column<Batch> kBatchColumns[] = {
    {"id", [](const Field& f, Batch& b) { b.id = f.text(); }},
    {"tenant", [](const Field& f, Batch& b) { b.spec.tenant = f.text(); }},
    {"name", [](const Field& f, Batch& b) { b.spec.name = f.text(); }},
    {"metadata", [](const Field& f, Batch& b) { b.spec.metadata = f.raw(); }},
    {"idempotency_key", [](const Field& f, Batch& b) { b.spec.idempotency_key = f.text(); },
     "NULL"},
    {"parkd.us_v1(deadline)",
     [](const Field& f, Batch& b) { b.spec.deadline = f.optional_time(); }},
    {"date_part('epoch', retention)::bigint",
     [](const Field& f, Batch& b) { b.spec.retention = f.optional_seconds(); }},
    {"total", [](const Field& f, Batch& b) { b.total = f.integer(); }},
    {"completed", [](const Field& f, Batch& b) { b.completed = f.integer(); }},
    {"failed", [](const Field& f, Batch& b) { b.failed = f.integer(); }},
    {"cancelled", [](const Field& f, Batch& b) { b.cancelled = f.integer(); }},
    {"deadline_missed", [](const Field& f, Batch& b) { b.deadline_missed = f.integer(); }},
    {"quarantined", [](const Field& f, Batch& b) { b.quarantined = f.integer(); }},
    {"truncated", [](const Field& f, Batch& b) { b.truncated = f.integer(); }},
    {"parkd.us_v1(created_at)", [](const Field& f, Batch& b) { b.created_at = f.time(); }},
    {"parkd.us_v1(sealed_at)", [](const Field& f, Batch& b) { b.sealed_at = f.optional_time(); }},
    {"parkd.us_v1(cancel_at)", [](const Field& f, Batch& b) { b.cancel_at = f.optional_time(); }},
    {"parkd.us_v1(finished_at)",
     [](const Field& f, Batch& b) { b.finished_at = f.optional_time(); }},
    {"input_file_id",  // before all others of the file
     [](const Field& f, Batch& b) {
       if (!f.is_null) b.spec.file = FileBatchSpec{f.text(), "", ""};
     }},
    {"endpoint",
     [](const Field& f, Batch& b) {
       if (b.spec.file) b.spec.file->endpoint = f.text();
     }},
    {"completion_window",
     [](const Field& f, Batch& b) {
       if (b.spec.file) b.spec.file->completion_window = f.text();
     }},
    {"retried_from",
     [](const Field& f, Batch& b) {
       if (b.spec.file) b.spec.file->retried_from = f.text();
     }},
    {"max_tokens",
     [](const Field& f, Batch& b) {
       if (b.spec.file && !f.is_null) b.spec.file->max_tokens = f.small();
     }},
    {"webhook_url",
     [](const Field& f, Batch& b) {
       if (b.spec.file) b.spec.file->webhook_url = f.text();
     }},
    {"webhook_status",
     [](const Field& f, Batch& b) {
       if (!f.is_null) b.webhook.status = webhook_status_of(f.bytes);
     }},
    {"webhook_attempts", [](const Field& f, Batch& b) { b.webhook.attempts = f.small(); }},
    {"parkd.us_v1(webhook_at)",
     [](const Field& f, Batch& b) { b.webhook.next_attempt_at = f.optional_time(); }},
    {"parkd.us_v1(webhook_delivered_at)",
     [](const Field& f, Batch& b) { b.webhook.delivered_at = f.optional_time(); }},
    {"webhook_error", [](const Field& f, Batch& b) { b.webhook.last_error = f.text(); }},
    {"stage",
     [](const Field& f, Batch& b) {
       if (!f.is_null) b.progress.stage = file_stage_of(f.bytes);
     }},
    {"model", [](const Field& f, Batch& b) { b.progress.model = f.text(); }},
    {"lines", [](const Field& f, Batch& b) { b.progress.lines = f.integer(); }},
    {"reached", [](const Field& f, Batch& b) { b.progress.reached = f.integer(); }},
    {"faults",
     [](const Field& f, Batch& b) {
       if (!f.is_null) b.progress.faults = faults_of(f.bytes);
     }},
    {"parkd.us_v1(validated_at)",
     [](const Field& f, Batch& b) { b.progress.validated_at = f.optional_time(); }},
    {"parkd.us_v1(ended_at)",
     [](const Field& f, Batch& b) { b.progress.ended_at = f.optional_time(); }},
    {"output_lines", [](const Field& f, Batch& b) { b.progress.output.lines = f.integer(); }},
    {"output_bytes", [](const Field& f, Batch& b) { b.progress.output.bytes = f.integer(); }},
    {"output_deleted", [](const Field& f, Batch& b) { b.progress.output.deleted = f.flag(); }},
    {"errors_lines", [](const Field& f, Batch& b) { b.progress.errors.lines = f.integer(); }},
    {"errors_bytes", [](const Field& f, Batch& b) { b.progress.errors.bytes = f.integer(); }},
    {"errors_deleted", [](const Field& f, Batch& b) { b.progress.errors.deleted = f.flag(); }},
    {"input_tokens", [](const Field& f, Batch& b) { b.progress.usage.input = f.integer(); }},
    {"cached_tokens", [](const Field& f, Batch& b) { b.progress.usage.cached = f.integer(); }},
    {"output_tokens", [](const Field& f, Batch& b) { b.progress.usage.output = f.integer(); }},
    {"reasoning_tokens",
     [](const Field& f, Batch& b) { b.progress.usage.reasoning = f.integer(); }},
};

// Of parkd.files that are whole.
inline constexpr Column<StoredFile> kFileColumns[] = {
    {"id", [](const Field& f, StoredFile& file) { file.id = f.text(); }},
    {"tenant", [](const Field& f, StoredFile& file) { file.tenant = f.text(); }},
    {"filename", [](const Field& f, StoredFile& file) { file.filename = f.text(); }},
    {"purpose", [](const Field& f, StoredFile& file) { file.purpose = f.text(); }},
    {"bytes", [](const Field& f, StoredFile& file) { file.bytes = f.integer(); }},
    {"parkd.us_v1(created_at)",
     [](const Field& f, StoredFile& file) { file.created_at = f.time(); }},
    {"parkd.us_v1(expires_at)",
     [](const Field& f, StoredFile& file) { file.expires_at = f.time(); }},
};

// Of a row that begins with the columns of its kind, in their order. What a statement asks for
// besides stands behind them, and is read by name.
Job parse_job(const pqxx::row& row);
Message parse_message(const pqxx::row& row);
HistoryRow parse_history(const pqxx::row& row);
Batch parse_batch(const pqxx::row& row);
StoredFile parse_file(const pqxx::row& row);
LiveMembers parse_live_members(const pqxx::row& row);  // by name

// By the name a statement gave the column; a name that it has not is an exception of libpqxx's.
Field field(const pqxx::row& row, const char* column);
inline bool is_null(const pqxx::row& row, const char* column) {
  return field(row, column).is_null;
}
inline int64_t integer(const pqxx::row& row, const char* column) {
  return field(row, column).integer();
}
inline std::string text(const pqxx::row& row, const char* column) {
  return field(row, column).text();
}
inline bool flag(const pqxx::row& row, const char* column) {
  return field(row, column).flag();
}
// Never by position. (A literal 0 would be a name that is a null pointer.)
Field field(const pqxx::row& row, int position) = delete;
bool is_null(const pqxx::row& row, int position) = delete;
int64_t integer(const pqxx::row& row, int position) = delete;
std::string text(const pqxx::row& row, int position) = delete;
bool flag(const pqxx::row& row, int position) = delete;
std::vector<std::string> split_list(const pqxx::row& row, const char* column);  // by \x01
Field only_field(const pqxx::result& rows);  // of the one row of one column

}  // namespace parkd
