#include "lib/store/postgres/rows.h"

#include <charconv>
#include <optional>

#include "lib/store/postgres/pg_text.h"

namespace parkd {
namespace {

std::optional<int64_t> optional_integer(const pqxx::row& row, pqxx::row::size_type column) {
  if (row[column].is_null()) return std::nullopt;
  return integer(row, column);
}

std::optional<WallTime> optional_time(const pqxx::row& row, pqxx::row::size_type column) {
  const auto us = optional_integer(row, column);
  if (!us) return std::nullopt;
  return from_unix_us(*us);
}

WallTime time(const pqxx::row& row, pqxx::row::size_type column) {
  return from_unix_us(integer(row, column));
}

int32_t small(const pqxx::row& row, pqxx::row::size_type column) {
  return static_cast<int32_t>(integer(row, column));
}

std::string raw(const pqxx::row& row, pqxx::row::size_type column) {
  return row[column].is_null() ? std::string()
                               : std::string(row[column].c_str(), row[column].size());
}

}  // namespace

int64_t integer(const pqxx::row& row, pqxx::row::size_type column) {
  int64_t value = 0;
  const char* first = row[column].c_str();
  std::from_chars(first, first + row[column].size(), value);
  return value;
}

std::string text(const pqxx::row& row, pqxx::row::size_type column) {
  return row[column].is_null() ? std::string() : decode_text(raw(row, column));
}

std::vector<std::string> split_list(const pqxx::row& row, pqxx::row::size_type column) {
  std::vector<std::string> parts;
  const std::string all = raw(row, column);
  if (all.empty()) return parts;
  for (size_t first = 0;;) {
    const size_t end = all.find('\x01', first);
    parts.push_back(decode_text(all.substr(first, end - first)));
    if (end == all.npos) return parts;
    first = end + 1;
  }
}

Job parse_job(const pqxx::row& row) {
  Job job;
  JobSpec& spec = job.spec;
  job.id = static_cast<JobId>(integer(row, 0));
  job.lease = lease_from_sql(integer(row, 1));
  job.created_at = time(row, 2);
  job.order_key = time(row, 3);
  spec.run_at = optional_time(row, 4);
  spec.deadline = optional_time(row, 5);
  job.claimed_at = time(row, 6);
  spec.seed = static_cast<uint64_t>(integer(row, 7));
  spec.retention = std::chrono::duration_cast<std::chrono::seconds>(Micros(integer(row, 8)));
  if (const auto s = optional_integer(row, 9)) spec.run_timeout = std::chrono::seconds(*s);
  spec.prompt_tokens = small(row, 10);
  // NULL: left out by SQL; known when its prompt has been counted.
  spec.max_new_tokens = static_cast<int32_t>(optional_integer(row, 11).value_or(0));
  spec.n_choices = small(row, 12);
  job.attempts = small(row, 13);
  spec.max_attempts = small(row, 14);
  job.interruptions = small(row, 15);
  spec.priority = priority_from_string(raw(row, 16)).value_or(Priority::normal);
  spec.tokens_are_exact = raw(row, 17) == "t";
  spec.model = text(row, 18);
  spec.tenant = text(row, 19);
  spec.mailbox_key = text(row, 20);
  spec.endpoint = text(row, 21);
  spec.custom_id = text(row, 22);
  spec.batch_id = text(row, 23);
  spec.idempotency_key = text(row, 24);
  spec.metadata = raw(row, 25);
  spec.body = raw(row, 26);
  job.requeued_from = static_cast<JobId>(integer(row, 27));
  const std::string state = raw(row, 28);
  job.state = state == "claimed"      ? JobState::claimed
              : state == "scheduled"  ? JobState::scheduled
              : state == "cancelling" ? JobState::cancelling
                                      : JobState::queued;
  job.deaths_alone = small(row, 29);
  job.suspect_group = static_cast<uint64_t>(integer(row, 30));
  job.noted_lease = lease_from_sql(integer(row, 31));
  // The row remembers the lease of the last run, which the next one must exceed; none holds it.
  if (job.state != JobState::claimed) job.lease = {};
  return job;
}

Message parse_message(const pqxx::row& row) {
  Message message;
  Ending& ending = message.ending;
  message.sequence = static_cast<uint64_t>(integer(row, 0));
  message.job_id = static_cast<JobId>(integer(row, 1));
  message.lease = lease_from_sql(integer(row, 2));
  message.created_at = time(row, 3);
  message.finished_at = time(row, 4);
  message.expires_at = time(row, 5);
  ending.queue_us = integer(row, 6);
  ending.run_us = integer(row, 7);
  ending.units = integer(row, 8);
  ending.prompt_tokens = small(row, 9);
  ending.completion_tokens = small(row, 10);
  ending.status_code = small(row, 11);
  message.attempts = small(row, 12);
  ending.outcome = outcome_from_string(raw(row, 13)).value_or(Outcome::failed);
  message.tenant = text(row, 14);
  message.mailbox_key = text(row, 15);
  message.model = text(row, 16);
  message.custom_id = text(row, 17);
  message.batch_id = text(row, 18);
  ending.error_code = raw(row, 19);
  ending.error_message = raw(row, 20);
  ending.error_param = raw(row, 21);
  message.metadata = raw(row, 22);
  ending.body = unwrap_json_string(raw(row, 23));
  return message;
}

HistoryRow parse_history(const pqxx::row& row) {
  HistoryRow history;
  history.job_id = static_cast<JobId>(integer(row, 0));
  history.tenant = text(row, 1);
  history.custom_id = text(row, 2);
  history.model = text(row, 3);
  history.outcome = outcome_from_string(raw(row, 4)).value_or(Outcome::failed);
  history.error_code = raw(row, 5);
  history.prompt_tokens = small(row, 6);
  history.completion_tokens = small(row, 7);
  history.created_at = time(row, 8);
  history.finished_at = time(row, 9);
  return history;
}

}  // namespace parkd
