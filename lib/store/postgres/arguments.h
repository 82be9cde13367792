// The arrays that the verbs of many rows hand to the database, by the names its functions give
// them.
//
// Pure functions, any thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lib/job/job.h"
#include "lib/store/postgres/columns.h"
#include "lib/store/postgres/connection.h"
#include "lib/store/postgres/pg_text.h"
#include "lib/store/postgres/storable.h"

namespace parkd {

// One array a column, an element a row.
template <class Row, size_t n>
void add_arrays(Params& params, const Argument<Row> (&arguments)[n], const std::vector<Row>& rows) {
  ArrayText array;
  for (const Argument<Row>& argument : arguments) {
    for (const Row& row : rows) argument.add(row, array);
    params.add(array.take());
  }
}

// NULL where it was left out: the database fills it in, and knows what was given.
inline std::optional<int64_t> us_of(const std::optional<WallTime>& time) {
  return time ? std::optional(to_unix_us(*time)) : std::nullopt;
}
inline std::optional<int64_t> us_of(const std::optional<std::chrono::seconds>& duration) {
  return duration ? std::optional(int64_t{1'000'000} * duration->count()) : std::nullopt;
}

// submit_v1's. A group is accepted whole or not at all.
struct SubmitRow {
  int64_t group = 0;
  const JobSpec* spec = nullptr;
};
inline constexpr Argument<SubmitRow> kSubmitArrays[] = {
    {"p_group", "int[]", [](const SubmitRow& r, ArrayText& a) { a.add(r.group); }},
    {"p_model", "text[]",
     [](const SubmitRow& r, ArrayText& a) { a.add(encode_text(r.spec->model)); }},
    {"p_tenant", "text[]",
     [](const SubmitRow& r, ArrayText& a) { a.add(encode_text(r.spec->tenant)); }},
    {"p_priority", "text[]",
     [](const SubmitRow& r, ArrayText& a) { a.add(to_string(r.spec->priority)); }},
    {"p_mailbox_key", "text[]",
     [](const SubmitRow& r, ArrayText& a) { a.add(encode_text(r.spec->mailbox_key)); }},
    {"p_custom_id", "text[]",
     [](const SubmitRow& r, ArrayText& a) { a.add(encode_text(r.spec->custom_id)); }},
    {"p_batch_id", "text[]",
     [](const SubmitRow& r, ArrayText& a) { a.add(encode_text(r.spec->batch_id)); }},
    {"p_metadata", "text[]", [](const SubmitRow& r, ArrayText& a) { a.add(r.spec->metadata); }},
    {"p_idempotency_key", "text[]",
     [](const SubmitRow& r, ArrayText& a) { a.add(encode_text(r.spec->idempotency_key)); }},
    {"p_endpoint", "text[]", [](const SubmitRow& r, ArrayText& a) { a.add(r.spec->endpoint); }},
    {"p_body", "text[]", [](const SubmitRow& r, ArrayText& a) { a.add(r.spec->body); }},
    {"p_seed", "bigint[]",
     [](const SubmitRow& r, ArrayText& a) {
       r.spec->seed ? a.add(static_cast<int64_t>(*r.spec->seed)) : a.add_null();
     }},
    {"p_run_at_us", "bigint[]",
     [](const SubmitRow& r, ArrayText& a) { a.add(us_of(r.spec->run_at)); }},
    {"p_deadline_us", "bigint[]",
     [](const SubmitRow& r, ArrayText& a) { a.add(us_of(r.spec->deadline)); }},
    {"p_run_timeout_s", "bigint[]",
     [](const SubmitRow& r, ArrayText& a) {
       r.spec->run_timeout ? a.add(int64_t{r.spec->run_timeout->count()}) : a.add_null();
     }},
    {"p_retention_us", "bigint[]",
     [](const SubmitRow& r, ArrayText& a) { a.add(us_of(r.spec->retention)); }},
    {"p_max_attempts", "int[]",
     [](const SubmitRow& r, ArrayText& a) { a.add(int64_t{r.spec->max_attempts}); }},
    {"p_n_choices", "int[]",
     [](const SubmitRow& r, ArrayText& a) { a.add(int64_t{r.spec->n_choices}); }},
    {"p_prompt_tokens", "int[]",
     [](const SubmitRow& r, ArrayText& a) { a.add(int64_t{r.spec->prompt_tokens}); }},
    {"p_max_new_tokens", "int[]",
     [](const SubmitRow& r, ArrayText& a) { a.add(int64_t{r.spec->max_new_tokens}); }},
    {"p_exact", "bool[]",
     [](const SubmitRow& r, ArrayText& a) { a.add(r.spec->tokens_are_exact); }},
};

// finish_v1's.
struct FinishRow {
  JobId id = 0;
  RunLease lease;
  Ending ending;      // as storable_ending() has it
  bool wrap = false;  // its body is not JSON
};
inline constexpr Argument<FinishRow> kFinishArrays[] = {
    {"p_ids", "bigint[]", [](const FinishRow& r, ArrayText& a) { a.add(to_bigint(r.id)); }},
    {"p_leases", "bigint[]",
     [](const FinishRow& r, ArrayText& a) { a.add(lease_to_sql(r.lease)); }},
    {"p_outcomes", "text[]",
     [](const FinishRow& r, ArrayText& a) { a.add(to_string(r.ending.outcome)); }},
    {"p_codes", "text[]",
     [](const FinishRow& r, ArrayText& a) { a.add(readable_text(r.ending.error_code)); }},
    {"p_messages", "text[]",
     [](const FinishRow& r, ArrayText& a) { a.add(readable_text(r.ending.error_message)); }},
    {"p_params", "text[]",
     [](const FinishRow& r, ArrayText& a) { a.add(readable_text(r.ending.error_param)); }},
    {"p_status", "int[]",
     [](const FinishRow& r, ArrayText& a) { a.add(int64_t{r.ending.status_code}); }},
    {"p_bodies", "text[]",
     [](const FinishRow& r, ArrayText& a) { a.add(body_to_store(r.ending, r.wrap)); }},
    {"p_prompt", "int[]",
     [](const FinishRow& r, ArrayText& a) { a.add(int64_t{r.ending.prompt_tokens}); }},
    {"p_completion", "int[]",
     [](const FinishRow& r, ArrayText& a) { a.add(int64_t{r.ending.completion_tokens}); }},
    {"p_units", "bigint[]", [](const FinishRow& r, ArrayText& a) { a.add(r.ending.units); }},
    {"p_queue_us", "bigint[]", [](const FinishRow& r, ArrayText& a) { a.add(r.ending.queue_us); }},
    {"p_run_us", "bigint[]", [](const FinishRow& r, ArrayText& a) { a.add(r.ending.run_us); }},
    {"p_truncated", "bool[]", [](const FinishRow& r, ArrayText& a) { a.add(r.ending.truncated); }},
};

// deliver_v1's: messages of an embedded store.
struct DeliverRow {
  const Message* message = nullptr;
  Ending ending;         // as storable_ending() has it
  std::string metadata;  // as PostgreSQL can read it
  bool wrap = false;     // the body is not JSON
};
inline constexpr Argument<DeliverRow> kDeliverArrays[] = {
    {"p_sequences", "bigint[]",
     [](const DeliverRow& r, ArrayText& a) { a.add(to_bigint(r.message->sequence)); }},
    {"p_jobs", "bigint[]",
     [](const DeliverRow& r, ArrayText& a) { a.add(to_bigint(r.message->job_id)); }},
    {"p_leases", "bigint[]",
     [](const DeliverRow& r, ArrayText& a) { a.add(lease_to_sql(r.message->lease)); }},
    {"p_created_us", "bigint[]",
     [](const DeliverRow& r, ArrayText& a) { a.add(to_unix_us(r.message->created_at)); }},
    {"p_finished_us", "bigint[]",
     [](const DeliverRow& r, ArrayText& a) { a.add(to_unix_us(r.message->finished_at)); }},
    {"p_expires_us", "bigint[]",
     [](const DeliverRow& r, ArrayText& a) { a.add(to_unix_us(r.message->expires_at)); }},
    {"p_queue_us", "bigint[]", [](const DeliverRow& r, ArrayText& a) { a.add(r.ending.queue_us); }},
    {"p_run_us", "bigint[]", [](const DeliverRow& r, ArrayText& a) { a.add(r.ending.run_us); }},
    {"p_units", "bigint[]", [](const DeliverRow& r, ArrayText& a) { a.add(r.ending.units); }},
    {"p_prompt", "int[]",
     [](const DeliverRow& r, ArrayText& a) { a.add(int64_t{r.ending.prompt_tokens}); }},
    {"p_completion", "int[]",
     [](const DeliverRow& r, ArrayText& a) { a.add(int64_t{r.ending.completion_tokens}); }},
    {"p_status", "int[]",
     [](const DeliverRow& r, ArrayText& a) { a.add(int64_t{r.ending.status_code}); }},
    {"p_attempts", "int[]",
     [](const DeliverRow& r, ArrayText& a) { a.add(int64_t{r.message->attempts}); }},
    {"p_outcomes", "text[]",
     [](const DeliverRow& r, ArrayText& a) { a.add(to_string(r.ending.outcome)); }},
    {"p_tenants", "text[]",
     [](const DeliverRow& r, ArrayText& a) { a.add(encode_text(r.message->tenant)); }},
    {"p_keys", "text[]",
     [](const DeliverRow& r, ArrayText& a) { a.add(encode_text(r.message->mailbox_key)); }},
    {"p_models", "text[]",
     [](const DeliverRow& r, ArrayText& a) { a.add(encode_text(r.message->model)); }},
    {"p_custom_ids", "text[]",
     [](const DeliverRow& r, ArrayText& a) { a.add(encode_text(r.message->custom_id)); }},
    {"p_batch_ids", "text[]",
     [](const DeliverRow& r, ArrayText& a) { a.add(encode_text(r.message->batch_id)); }},
    {"p_codes", "text[]",
     [](const DeliverRow& r, ArrayText& a) { a.add(readable_text(r.ending.error_code)); }},
    {"p_messages", "text[]",
     [](const DeliverRow& r, ArrayText& a) { a.add(readable_text(r.ending.error_message)); }},
    {"p_params", "text[]",
     [](const DeliverRow& r, ArrayText& a) { a.add(readable_text(r.ending.error_param)); }},
    {"p_metadata", "text[]", [](const DeliverRow& r, ArrayText& a) { a.add(r.metadata); }},
    {"p_bodies", "text[]",
     [](const DeliverRow& r, ArrayText& a) { a.add(body_to_store(r.ending, r.wrap)); }},
};

}  // namespace parkd
