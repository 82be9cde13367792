// Every statement the store sends, each with the index it lives on
// (tests/store/postgres/plan_test.cc looks at the plans). The verbs themselves are functions of
// migrations 0002 to 0008, 0012 and later ones.
#pragma once

#include <iterator>

#include "lib/store/postgres/arguments.h"
#include "lib/store/postgres/connection.h"
#include "lib/store/postgres/rows.h"

namespace parkd::sql {

// daemons_pkey
inline constexpr Statement kRegister{
    "register",
    "SELECT daemon_id, fence_epoch, parkd.us_v1(clock_timestamp()) AS now_us FROM "
    "parkd.register_v1($1, $2, $3, make_interval(secs => $4), parkd.from_us_v1($5))"};
// daemons_pkey, jobs_cancelled. At least one row, with the time.
inline constexpr Statement kHeartbeat{
    "heartbeat",
    "SELECT c.now_us, h.job_id, h.run_lease FROM "
    "(SELECT parkd.us_v1(clock_timestamp())) c(now_us) LEFT JOIN "
    "parkd.heartbeat_v1($1, $2, $3, parkd.from_us_v1($4)) h ON true"};
// jobs_claimed
inline constexpr Statement kUnregister{"unregister",
                                       "SELECT parkd.unregister_v1($1, parkd.from_us_v1($2))"};
// jobs_claimed
inline constexpr Statement kReturnUnknownClaims{
    "return_unknown_claims",
    "SELECT returned, held FROM parkd.return_unknown_claims_v1($1, $2::bigint[], "
    "parkd.from_us_v1($3))"};
inline constexpr Statement kEnsurePartitions{
    "ensure_partitions", "SELECT parkd.ensure_partitions_v1(parkd.from_us_v1($1))"};
// jobs_pkey
inline constexpr Statement kEnsurePartitionsFor{
    "ensure_partitions_for",
    "SELECT parkd.ensure_partitions_for_v1($1::bigint[], parkd.from_us_v1($2))"};

// idempotency_pkey, batches_pkey
inline constexpr Statement kSubmit{
    "submit", joined([] {
      return "SELECT row_index, job_id, mailbox_key AS submitted_key, existed, finished, refusal, "
             "n1, n2, n3 FROM parkd.submit_v1(p_now => parkd.from_us_v1($1), p_skip => $2, "
             "p_keyed => $3, p_batched => $4, p_retention_default_us => $5, p_batch_jobs_max => "
             "$6, " +
             arrays(kSubmitArrays, 7) + ")";
    })};
// The same, and a claim of each row for the daemon $28 if its element of $30 says so; the array of
// models is $8. idempotency_pkey, batches_pkey, jobs_pkey
static_assert(std::size(kSubmitArrays) == 21, "its last is $27");
inline constexpr Statement kSubmitAndClaim{
    "submit_and_claim", joined([] {
      return "SELECT " + other_list(kJobColumns) +
             ", weight, ord, row_index, job_id, submitted_key, existed, finished, refusal, n1, n2, "
             "n3 FROM (SELECT row_index, job_id, mailbox_key AS submitted_key, existed, finished, "
             "refusal, n1, n2, n3 FROM parkd.submit_v1(p_now => parkd.from_us_v1($1), p_skip => "
             "$2, p_keyed => $3, p_batched => $4, p_retention_default_us => $5, p_batch_jobs_max "
             "=> $6, " +
             arrays(kSubmitArrays, 7) +
             ")) s LEFT JOIN LATERAL parkd.claim_submitted_v1($28, ($8::text[])[row_index + 1], "
             "CASE WHEN refusal IS NULL AND NOT finished AND ($30::bool[])[row_index + 1] THEN "
             "job_id END, parkd.from_us_v1($1), $29) c ON true";
    })};
// models_pkey
inline constexpr Statement kRegisterModel{"register_model",
                                          "SELECT parkd.register_model_v1($1, $2, $3)"};
inline constexpr Statement kModelHash{"model_hash",
                                      "SELECT content_hash FROM parkd.models WHERE name = $1"};
inline constexpr Statement kKeepModels{"keep_models",
                                       "SELECT parkd.keep_models_v1($1::text[], $2::text[], "
                                       "$3::int[], parkd.from_us_v1($4)) AS differs"};
// jobs_critical, jobs_queue, jobs_pkey; jobs_scheduled
inline constexpr Statement kClaim{
    "claim", joined([] {
      return "SELECT " + other_list(kJobColumns) +
             ", ord, weight FROM parkd.claim_v1($1, $2, $3, parkd.from_us_v1($4), $5, $6::text[], "
             "$7::int[], $8, $9, $10::bigint[])";
    })};
// jobs_pkey; history_job where a job is gone
inline constexpr Statement kFinish{
    "finish", joined([] {
      return "SELECT job_id, run_lease, answer, tenant, mailbox_key FROM "
             "parkd.finish_v1(p_now => parkd.from_us_v1($1), p_skip => $2, " +
             arrays(kFinishArrays, 3) + ")";
    })};
// jobs_pkey
inline constexpr Statement kRelease{
    "release",
    "SELECT job_id, run_lease, model, tenant, mailbox_key, held FROM "
    "parkd.release_v1($1::bigint[], $2::bigint[], $3::bool[], $4::bigint[], "
    "parkd.from_us_v1($5), $6)"};
// jobs_pkey. One row.
inline constexpr Statement kNoteDeaths{
    "note_deaths",
    "SELECT suspects, quarantined, array_to_string(tenants, E'\\x01') AS tenants, "
    "array_to_string(mailbox_keys, E'\\x01') AS mailbox_keys FROM "
    "parkd.note_deaths_v1($1::bigint[], $2::bigint[], "
    "$3::bool, parkd.from_us_v1($4))"};
// jobs_pkey, history_job
inline constexpr Statement kCancel{
    "cancel",
    "SELECT answer, run_lease, mine, tenant, mailbox_key FROM parkd.cancel_v1($1, $2, "
    "make_interval(secs => $3), parkd.from_us_v1($4))"};

// callers_pkey, jobs_pkey, daemons_pkey
inline constexpr Statement kAttach{"attach", "SELECT parkd.attach_v1($1, $2, $3::int) AS grace_s"};
// callers_pkey
inline constexpr Statement kDetach{"detach", "SELECT parkd.detach_v1($1, $2) AS is_alone"};
// callers_pkey
inline constexpr Statement kKeep{"keep", "SELECT parkd.keep_v1($1) AS was_attached"};
// A scan of parkd.callers, which are few; jobs_pkey, daemons_pkey
inline constexpr Statement kAdopt{"adopt",
                                  "SELECT job_id, tenant, grace_s FROM parkd.adopt_v1($1)"};

// history_job, mailbox_key; mailbox_batch; mailbox_failed, mailbox_failed_of_tenant
inline constexpr Statement kRequeue{
    "requeue",
    "SELECT requeued_from, id, mailbox_key, model, existed FROM parkd.requeue_v1($1, $2::bigint[], "
    "$3::text[], $4, $5, $6, parkd.from_us_v1($7))"};

// What stands behind a source of batches b, so that it has all of kBatchColumns. The limit leaves
// the planner one way to join: by file_batches_pkey, for each batch.
inline constexpr std::string_view kWithFiles =
    " b LEFT JOIN LATERAL (SELECT x.* FROM parkd.file_batches x WHERE x.batch_id = b.id LIMIT 1) f "
    "ON true ";
// batches_key, file_batches_pkey
inline constexpr Statement kOpenBatch{
    "open_batch", joined([] {
      return "SELECT " + list(kBatchColumns) +
             ", existed, conflict, n_open, max_open FROM (SELECT o.existed, o.conflict, o.n_open, "
             "o.max_open, (o.batch).*, (o.file).* FROM parkd.open_batch_v3($1, $2, $3::json, $4, "
             "parkd.from_us_v1($5), make_interval(secs => $6), make_interval(secs => $7), $8, "
             "parkd.from_us_v1($9), $10, $11, $12, $13, $14, $15, $16) o) b";
    })};
// batches_pkey, file_batches_pkey
inline constexpr Statement kSealBatch{
    "seal_batch", joined([] {
      return "SELECT " + list(kBatchColumns) +
             " FROM parkd.seal_batch_v1($1, $2, parkd.from_us_v1($3))" + kWithFiles;
    })};
// batches_to_work_on, file_batches_pkey, batches_pkey
inline constexpr Statement kNextBatchWork{
    "next_batch_work", joined([] {
      return "SELECT " + list(kBatchColumns) +
             " FROM (SELECT (o.batch).*, (o.file).* FROM parkd.next_batch_work_v1($1, "
             "make_interval(secs => $2), $3::text[], $4::text[], parkd.from_us_v1($5)) o) b";
    })};
// batches_pkey, file_batches_pkey
inline constexpr Statement kAdvanceBatch{
    "advance_batch", joined([] {
      return "SELECT " + list(kBatchColumns) +
             " FROM (SELECT (o.batch).*, (o.file).* FROM parkd.advance_batch_v1($1, $2, $3, $4, "
             "$5, $6::json, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, "
             "parkd.from_us_v1($17)) o) b";
    })};
// file_batches_webhook, batches_pkey, file_batches_pkey
inline constexpr Statement kNextWebhook{
    "next_webhook", joined([] {
      return "SELECT " + list(kBatchColumns) +
             " FROM (SELECT (o.batch).*, (o.file).* FROM parkd.next_webhook_v1($1, "
             "make_interval(secs => $2), $3::text[], $4::text[], parkd.from_us_v1($5)) o) b";
    })};
// batches_pkey, file_batches_pkey
inline constexpr Statement kNoteWebhook{
    "note_webhook", joined([] {
      return "SELECT " + list(kBatchColumns) +
             " FROM (SELECT (o.batch).*, (o.file).* FROM parkd.note_webhook_v1($1, $2, $3, "
             "make_interval(secs => $4::bigint / 1e3), $5, parkd.from_us_v1($6)) o) b";
    })};
// file_batches_webhook
inline constexpr Statement kWebhooksPending{
    "webhooks_pending",
    "SELECT count(*) FROM (SELECT FROM parkd.file_batches WHERE webhook_at IS NOT NULL LIMIT 1000) "
    "x"};
// batches_pkey, file_batches_pkey
inline constexpr Statement kFilesOfBatches{
    "files_of_batches",
    "SELECT b.id, b.tenant, f.input_file_id FROM unnest($1::text[]) u(id) JOIN LATERAL (SELECT "
    "x.id, x.tenant FROM parkd.batches x WHERE x.id = u.id LIMIT 1) b ON true JOIN LATERAL (SELECT "
    "x.input_file_id FROM parkd.file_batches x WHERE x.batch_id = u.id LIMIT 1) f ON true"};
// jobs_batch, batches_pkey
inline constexpr Statement kCancelBatch{
    "cancel_batch",
    "SELECT job_id, run_lease, daemon FROM parkd.cancel_batch_v1($1, $2, parkd.from_us_v1($3))"};
// jobs_cancelled; jobs_batch
inline constexpr Statement kEndCancelled{
    "end_cancelled",
    "SELECT job_id, tenant, mailbox_key FROM parkd.end_cancelled_v1($1, $2, "
    "parkd.from_us_v1($3))"};
// batches_pkey, file_batches_pkey; jobs_batch where members live
inline constexpr Statement kGetBatch{
    "get_batch", joined([] {
      return "SELECT " + list(kBatchColumns) +
             ", l.scheduled, l.queued, l.claimed, l.cancelling FROM parkd.batches" + kWithFiles +
             "CROSS JOIN LATERAL (SELECT "
             "count(*) FILTER (WHERE j.state = 'scheduled' AND j.run_at > parkd.now_v1($3)) AS "
             "scheduled, "
             "count(*) FILTER (WHERE j.state = 'queued' OR j.state = 'scheduled' AND j.run_at <= "
             "parkd.now_v1($3)) AS queued, "
             "count(*) FILTER (WHERE j.state = 'claimed') AS claimed, "
             "count(*) FILTER (WHERE j.state = 'cancelling') AS cancelling "
             "FROM parkd.jobs j WHERE j.batch_id = b.id AND j.tenant = b.tenant) l "
             "WHERE b.id = $1 AND ($2 = '' OR b.tenant = $2)";
    })};
// batches_newest, batches_of_tenant; batches_with_file, batches_with_file_of_tenant;
// file_batches_pkey; batches_to_work_on
inline constexpr Statement kListBatches{
    "list_batches", joined([] {
      return "SELECT " + list(kBatchColumns) + " FROM parkd.list_batches_v2($1, $2, $3, $4, $5)" +
             kWithFiles + "ORDER BY b.created_at DESC, b.id DESC";
    })};

// jobs_pkey
inline constexpr Statement kGetJob{
    "get_job", joined([] {
      return "SELECT " + list(kJobColumns) +
             " FROM parkd.jobs WHERE id = $2 AND ($3 = '' OR tenant = $3)";
    })};
// history_job, mailbox_key
inline constexpr Statement kGetMessage{
    "get_message", joined([] {
      return "SELECT " + list(kMessageColumns) +
             " FROM parkd.message_of_v1($2, parkd.from_us_v1($1)) WHERE $3 = '' OR tenant = $3";
    })};
// history_job
inline constexpr Statement kGetHistory{
    "get_history", joined([] {
      return "SELECT " + list(kHistoryColumns) +
             " FROM parkd.history WHERE job_id = $2 AND ($3 = '' OR tenant = $3) AND expires_at + "
             "make_interval(secs => $4) > coalesce(parkd.from_us_v1($1), clock_timestamp())";
    })};
// jobs_pkey; jobs_claimed; jobs_batch
inline constexpr Statement kList{
    "list", joined([] {
      return "SELECT " + list(kJobColumns) +
             " FROM parkd.list_v1($2, $3, $4, $5, $6, $7, $8, $9, $10, parkd.from_us_v1($1)) "
             "ORDER BY id";
    })};
// jobs_pkey
inline constexpr Statement kListUntil{"list_until", "SELECT parkd.list_until_v1($1, $2)"};
// mailbox_key
inline constexpr Statement kFetch{
    "fetch", joined([] {
      return "SELECT " + list(kMessageColumns) + ", n_there FROM " +
             page_of("parkd.fetch_v1($1, $2, $3, $4, parkd.from_us_v1($5))", "sequence", "$6") +
             " ORDER BY sequence";
    })};
// NULL where the database announces no results.
inline constexpr Statement kResultsPayload{
    "results_payload",
    "SELECT CASE WHEN (SELECT notify_results FROM parkd.settings) THEN "
    "parkd.results_payload_v1($1, $2) END"};
// mailbox_key
inline constexpr Statement kTake{
    "take", joined([] {
      return "SELECT " + list(kMessageColumns) +
             ", pg_current_xact_id() AS transaction FROM parkd.take_v1($1, $2, $3::bigint[], "
             "parkd.from_us_v1($4)) ORDER BY sequence";
    })};
// What became of a transaction whose commit was not answered.
inline constexpr Statement kTransactionStatus{"transaction_status",
                                              "SELECT pg_xact_status($1::text::xid8)"};
// The steps of housekeeping. jobs_claimed
inline constexpr Statement kRescue{"rescue", "SELECT parkd.rescue_v1(parkd.from_us_v1($1))"};
// jobs_scheduled
inline constexpr Statement kPromote{
    "promote", "SELECT array_to_string(parkd.promote_v1(parkd.now_v1($1)), E'\\x01') AS models"};
// jobs_deadline
inline constexpr Statement kEndOverdue{
    "end_overdue", "SELECT tenant, mailbox_key FROM parkd.end_overdue_v1(parkd.from_us_v1($1))"};
// batches_open, batches_finished, idempotency_check
inline constexpr Statement kTidy{"tidy",
                                 "SELECT parkd.tidy_v1(make_interval(secs => $1), "
                                 "make_interval(secs => $2), parkd.from_us_v1($3))"};
inline constexpr Statement kDropPastPartition{
    "drop_past_partition",
    "SELECT name, n_rows FROM parkd.drop_past_partition_v1($1, make_interval(secs => $2), "
    "least(coalesce(parkd.from_us_v1($3), clock_timestamp()), parkd.from_us_v1($4)))"};
inline constexpr Statement kFinishingNow{
    "finishing_now",
    "SELECT transaction, pid, login, application, parkd.us_v1(since) AS since_us, gid FROM "
    "parkd.finishing_now_v1()"};
inline constexpr Statement kDeadRows{
    "dead_rows",
    "SELECT array_to_string(to_vacuum, E'\\x01') AS to_vacuum, piled_up FROM parkd.dead_rows_v1()"};
// Outside of a transaction; each only where dead_rows_v1 named the table.
inline constexpr Statement kVacuumJobs{
    "vacuum_jobs", "VACUUM (INDEX_CLEANUP ON, TRUNCATE OFF, SKIP_LOCKED) parkd.jobs"};
inline constexpr Statement kVacuumIdempotency{
    "vacuum_idempotency", "VACUUM (INDEX_CLEANUP ON, TRUNCATE OFF, SKIP_LOCKED) parkd.idempotency"};
// a scan of parkd.jobs, in housekeeping alone and at most so often as sample_depth_v1 lets it
inline constexpr Statement kSampleDepth{
    "sample_depth",
    "SELECT parkd.sample_depth_v1(parkd.from_us_v1($1), make_interval(secs => $2))"};
// At least one row, with the messages. MATERIALIZED: they are counted once, not for each model.
inline constexpr Statement kDepths{
    "depths",
    "WITH c AS MATERIALIZED (SELECT parkd.count_messages_v1(parkd.from_us_v1($1)) AS messages) "
    "SELECT d.model, d.scheduled, d.queued, d.claimed, parkd.us_v1(d.oldest_created_at) AS "
    "oldest_us, "
    "c.messages, d.daemons FROM c LEFT JOIN parkd.depth d ON d.scheduled + d.queued + d.claimed > "
    "0 "
    "ORDER BY 1"};
// What was found broken by a hand at the database, and mended, in the last hour. mishaps_at
inline constexpr Statement kMishaps{
    "mishaps",
    "SELECT code, string_agg(text, '; ' ORDER BY at DESC) AS text FROM (SELECT at, code, text "
    "FROM parkd.mishaps WHERE at > parkd.now_v1($1) - interval '1 hour' ORDER BY at DESC LIMIT 10) "
    "m GROUP BY code"};
// idempotency_pkey
inline constexpr Statement kKnownKeys{
    "known_keys", "SELECT parkd.known_keys_v1($1, $2, parkd.from_us_v1($3)) AS at"};
// depth_samples_pkey, tenant_samples_pkey; without a sample jobs_queue, jobs_critical,
// jobs_scheduled
inline constexpr Statement kWaiting{"waiting",
                                    "SELECT w.queued, w.of_tenant, w.scheduled, "
                                    "coalesce(parkd.us_v1(w.sampled_at), 0) AS sampled_us "
                                    "FROM parkd.waiting_v1($1, $2, $3, $4) w"};
// What durability rests on.
inline constexpr Statement kServer{
    "server",
    "SELECT current_setting('fsync') AS fsync, current_setting('full_page_writes') AS "
    "full_page_writes, current_setting('synchronous_commit') AS synchronous_commit, "
    "current_setting('transaction_read_only') AS read_only"};
inline constexpr Statement kWritable{"writable", "SELECT current_setting('transaction_read_only')"};

}  // namespace parkd::sql
