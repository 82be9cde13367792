// Every statement PostgresMailbox sends, each with the index it lives on
// (tests/store/postgres/plan_test.cc looks at what they read).
#pragma once

#include "lib/store/postgres/arguments.h"
#include "lib/store/postgres/connection.h"
#include "lib/store/postgres/rows.h"

namespace parkd::outbox_sql {

// outboxes_pkey
inline constexpr Statement kOpenOutbox{
    "open_outbox",
    "SELECT parkd.open_outbox_v1($1::uuid, $2, $3::uuid, $4, $5, "
    "parkd.from_us_v1($6))"};
// outboxes_pkey
inline constexpr Statement kDeliver{
    "deliver", joined([] {
      return "SELECT parkd.deliver_v1(p_store => $1::uuid, p_process => $2::uuid, p_now => "
             "parkd.from_us_v1($3), " +
             arrays(kDeliverArrays, 4) + ")";
    })};
inline constexpr Statement kEnsureDeliveryPartitions{
    "ensure_delivery_partitions",
    "SELECT parkd.ensure_delivery_partitions_v1($1::bigint[], $2::bigint[], "
    "parkd.from_us_v1($3))"};
// mailbox_origin
inline constexpr Statement kFetchOrigin{
    "fetch_origin", joined([] {
      return "SELECT " + other_list(kMessageColumns) + ", n_there FROM " +
             page_of("parkd.fetch_origin_v1($1::uuid, $2, $3, $4, $5, parkd.from_us_v1($6))",
                     "origin_sequence", "$7") +
             " ORDER BY origin_sequence";
    })};
// mailbox_origin
inline constexpr Statement kTakeOrigin{
    "take_origin", joined([] {
      return "SELECT " + other_list(kMessageColumns) +
             ", pg_current_xact_id() AS transaction FROM parkd.take_origin_v1($1::uuid, $2, $3, "
             "$4::bigint[], parkd.from_us_v1($5)) "
             "ORDER BY origin_sequence";
    })};
inline constexpr Statement kCountMessages{"count_messages",
                                          "SELECT parkd.count_messages_v1(parkd.from_us_v1($1))"};

}  // namespace parkd::outbox_sql
