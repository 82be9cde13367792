// Rows of results as our values.
//
// Pure functions, any thread. The column order is that of statements.h.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <pqxx/result>
#include <pqxx/row>
#include <string>
#include <vector>

#include "lib/job/job.h"

namespace parkd {

// A run_lease is one bigint in SQL, epoch << 32 | n, so that it can be compared there.
inline int64_t lease_to_sql(RunLease lease) {
  return static_cast<int64_t>((lease.epoch << 32) | (lease.n & 0xffffffffull));
}
inline RunLease lease_from_sql(int64_t value) {
  const auto bits = static_cast<uint64_t>(value);
  return {bits >> 32, bits & 0xffffffffull};
}

// Ids and sequences are bigint: one that is larger than any names nothing.
inline int64_t to_bigint(uint64_t value) {
  return static_cast<int64_t>(
      std::min<uint64_t>(value, static_cast<uint64_t>(std::numeric_limits<int64_t>::max())));
}

Job parse_job(const pqxx::row& row);
Message parse_message(const pqxx::row& row);
HistoryRow parse_history(const pqxx::row& row);

int64_t integer(const pqxx::row& row, pqxx::row::size_type column);   // NULL is 0
std::string text(const pqxx::row& row, pqxx::row::size_type column);  // NULL is ""; decoded
std::vector<std::string> split_list(const pqxx::row& row, pqxx::row::size_type column);  // by \x01

}  // namespace parkd
