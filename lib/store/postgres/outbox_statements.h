// Every statement PostgresMailbox sends, each with the index it lives on
// (tests/store/postgres/plan_test.cc looks at what they read).
#pragma once

#include "lib/store/postgres/connection.h"

namespace parkd::outbox_sql {

// PARKD_MESSAGE_COLUMNS with the names the embedded store gave.
#define PARKD_ORIGIN_COLUMNS                                                                \
  "origin_sequence, origin_job, run_lease, parkd.us_v1(created_at), "                       \
  "parkd.us_v1(finished_at), parkd.us_v1(expires_at), queue_us, run_us, units, "            \
  "prompt_tokens, completion_tokens, status_code, attempts, outcome, tenant, mailbox_key, " \
  "model, custom_id, batch_id, error_code, error_message, error_param, metadata, body"

// outboxes_pkey
inline constexpr Statement kOpenOutbox{
    "open_outbox",
    "SELECT parkd.open_outbox_v1($1::uuid, $2, $3::uuid, $4, $5, "
    "parkd.from_us_v1($6))"};
// outboxes_pkey
inline constexpr Statement kDeliver{
    "deliver",
    "SELECT parkd.deliver_v1($1::uuid, $2::uuid, $3::bigint[], $4::bigint[], $5::bigint[], "
    "$6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], "
    "$12::int[], $13::int[], $14::int[], $15::int[], $16::text[], $17::text[], $18::text[], "
    "$19::text[], $20::text[], $21::text[], $22::text[], $23::text[], $24::text[], $25::text[], "
    "$26::text[], parkd.from_us_v1($27))"};
inline constexpr Statement kEnsureDeliveryPartitions{
    "ensure_delivery_partitions",
    "SELECT parkd.ensure_delivery_partitions_v1($1::bigint[], $2::bigint[], "
    "parkd.from_us_v1($3))"};
// mailbox_origin
inline constexpr Statement kFetchOrigin{
    "fetch_origin", "SELECT " PARKD_ORIGIN_COLUMNS
                    " FROM parkd.fetch_origin_v1($1::uuid, $2, $3, $4, $5, parkd.from_us_v1($6)) "
                    "ORDER BY origin_sequence"};
// mailbox_origin
inline constexpr Statement kTakeOrigin{"take_origin",
                                       "SELECT " PARKD_ORIGIN_COLUMNS
                                       " FROM parkd.take_origin_v1($1::uuid, $2, $3, $4::bigint[], "
                                       "parkd.from_us_v1($5)) ORDER BY origin_sequence"};
inline constexpr Statement kCountMessages{"count_messages",
                                          "SELECT parkd.count_messages_v1(parkd.from_us_v1($1))"};

}  // namespace parkd::outbox_sql
