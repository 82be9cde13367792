// Every statement PostgresClient sends, each with the index it lives on
// (tests/store/postgres/plan_test.cc looks at what they read).
#pragma once

#include "lib/store/postgres/connection.h"
#include "lib/store/postgres/rows.h"
#include "lib/store/postgres/statements.h"

namespace parkd::client_sql {

// idempotency_pkey
inline constexpr Statement kSubmitJson{
    "client_submit", "SELECT id, mailbox_key, existed FROM parkd.submit($1::json)"};
// jobs_pkey
inline constexpr Statement kStillLive{"client_still_live",
                                      "SELECT id FROM parkd.jobs WHERE id = ANY ($1::bigint[])"};
// jobs_pkey; jobs_claimed
inline constexpr Statement kListJobs{
    "client_list_jobs", joined([] {
      return "SELECT " + list(kJobColumns) +
             " FROM parkd.list_v1($2, $3, $4, $5, $6, $7, $8, $9, $10, clock_timestamp()) ORDER BY "
             "id";
    })};
// What daemons say of jobs, and why they wait. By ids that are there already: parkd.live is a
// barrier, and a join to it reads the queue once a row. jobs_pkey
inline constexpr Statement kLiveStates{
    "client_live_states",
    "SELECT id, state, units, reason FROM parkd.live WHERE id = ANY ($1::bigint[])"};
// history_job, then mailbox_key in one partition
inline constexpr Statement kFindMessage{
    "client_find_message", joined([] {
      return "SELECT " + list(kMessageColumns) +
             " FROM (SELECT p.mailbox_key AS its_key, p.tenant AS its_tenant, p.sequence AS "
             "its_sequence, p.expires_at AS its_end FROM parkd.past p WHERE p.id = $1 AND ($2 = '' "
             "OR p.tenant = $2)) h JOIN parkd.mailbox ON mailbox_key = its_key AND tenant = "
             "its_tenant AND sequence = its_sequence AND expires_at = its_end AND expires_at > "
             "clock_timestamp()";
    })};
// history_job
inline constexpr Statement kFindPast{
    "client_find_past", joined([] {
      return "SELECT " + other_list(kHistoryColumns) +
             " FROM parkd.past WHERE id = $1 AND ($2 = '' OR tenant = $2)";
    })};
// jobs_pkey, history_job
inline constexpr Statement kCancelJob{"client_cancel", "SELECT parkd.cancel($1)"};
inline constexpr Statement kRequeueJobs{"client_requeue",
                                        "SELECT requeued_from, id, mailbox_key, existed FROM "
                                        "parkd.requeue($1::bigint[], NULL, $2, $3, $4, "
                                        "$5::text[])"};
// mailbox_key
inline constexpr Statement kFetchPage{
    "client_fetch", joined([] {
      return "SELECT " + list(kMessageColumns) +
             " FROM parkd.fetch($1, $2, $3, $4) ORDER BY sequence";
    })};
inline constexpr Statement kTakeOldest{"client_take", joined([] {
                                         return "SELECT " + list(kMessageColumns) +
                                                " FROM parkd.take($1, $2, $3) ORDER BY sequence";
                                       })};
// NULL where the database announces no results.
inline constexpr Statement kResultsPayload{
    "client_results_payload",
    "SELECT CASE WHEN (SELECT notify_results FROM parkd.settings) THEN parkd.results_payload($1, "
    "$2) END"};
inline constexpr Statement kOpenBatch{
    "client_open_batch",
    "SELECT parkd.open_batch($1::json, parkd.from_us_v1($2), $3, make_interval(secs => $4), $5)"};
inline constexpr Statement kSealBatch{"client_seal_batch", "SELECT parkd.seal_batch($1)"};
inline constexpr Statement kCancelBatch{"client_cancel_batch", "SELECT parkd.cancel_batch($1)"};
// batches_pkey
inline constexpr Statement kBatch{
    "client_batch", joined([] {
      return "SELECT " + other_list(kBatchColumns) +
             " FROM parkd.batch_status WHERE id = $1 AND ($2 = '' OR tenant = $2)";
    })};
// jobs_batch
inline constexpr Statement kLiveMembers{
    "client_live_members",
    "SELECT count(*) FILTER (WHERE state = 'scheduled') AS scheduled, count(*) FILTER (WHERE state "
    "= 'queued') AS queued, count(*) FILTER (WHERE state = 'claimed') AS claimed, count(*) FILTER "
    "(WHERE state = 'cancelling') AS cancelling FROM parkd.jobs WHERE batch_id = $1"};
inline constexpr Statement kModels{"client_models",
                                   "SELECT name, content_hash, context_tokens, paused_at IS NOT "
                                   "NULL AS paused FROM parkd.models ORDER BY name"};
inline constexpr Statement kRegisterModel{"client_register_model",
                                          "SELECT parkd.register_model_v1($1, $2, $3)"};
inline constexpr Statement kBegin{"client_begin", "BEGIN"};
inline constexpr Statement kCommit{"client_commit", "COMMIT"};

}  // namespace parkd::client_sql
