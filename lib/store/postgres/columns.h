// Columns and arguments by name: tables that make a statement's text and read or write its values,
// so that the two cannot differ in order.
//
// Pure functions, any thread; the text is joined by the compiler.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

#include "lib/base/clock.h"
#include "lib/job/job_id.h"
#include "lib/store/postgres/pg_text.h"

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

// A value as the server sent it. NULL is 0, "" or false, unless it is asked for as optional.
struct Field {
  std::string_view bytes;
  bool is_null = false;

  int64_t integer() const;
  int32_t small() const { return static_cast<int32_t>(integer()); }
  uint64_t id() const { return static_cast<uint64_t>(integer()); }
  std::optional<int64_t> optional_integer() const;
  bool flag() const { return bytes == "t"; }
  WallTime time() const { return from_unix_us(integer()); }  // of microseconds
  std::optional<WallTime> optional_time() const;
  std::optional<std::chrono::seconds> optional_seconds() const;
  RunLease lease() const { return lease_from_sql(integer()); }
  std::string raw() const { return std::string(bytes); }   // as it is: JSON, words of our own
  std::string text() const { return decode_text(bytes); }  // what encode_text() wrote
};

// A column of a SELECT, and where its value goes.
template <class Row>
struct Column {
  const char* sql;
  void (*read)(const Field& field, Row& row);
  const char* other = nullptr;  // its name in the table's other source; nullptr: the same
};

// An array that a function takes, one element a row, and how a row fills it.
template <class Row>
struct Argument {
  const char* name;  // the function's own name of it
  const char* type;
  void (*add)(const Row& row, ArrayText& array);
};

// -------------------------------------------------------------------------------------------------
// SQL joined by the compiler: joined([] { return "SELECT " + list(kJobColumns) + " FROM ..."; })

struct SqlText {
  std::array<char, 4096> text{};
  size_t size = 0;

  constexpr SqlText& operator+=(std::string_view more) {
    // Past the end: the compiler refuses the statement.
    for (const char c : more) text.at(size++) = c;
    return *this;
  }
  constexpr std::string_view view() const { return {text.data(), size}; }
  friend constexpr SqlText operator+(SqlText sql, std::string_view more) { return sql += more; }
  friend constexpr SqlText operator+(SqlText sql, const SqlText& more) {
    return sql += more.view();
  }
  friend constexpr SqlText operator+(std::string_view first, const SqlText& more) {
    return (SqlText() += first) += more.view();
  }
};

template <class Row, size_t n>
consteval SqlText listed(const Column<Row> (&columns)[n], bool is_other) {
  SqlText sql;
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < i; ++j) {
      if (std::string_view(columns[i].sql) == columns[j].sql) throw "a column stands twice";
    }
    if (i > 0) sql += ", ";
    sql += is_other && columns[i].other != nullptr ? columns[i].other : columns[i].sql;
  }
  return sql;
}
template <class Row, size_t n>
consteval SqlText list(const Column<Row> (&columns)[n]) {
  return listed(columns, false);
}
template <class Row, size_t n>
consteval SqlText other_list(const Column<Row> (&columns)[n]) {
  return listed(columns, true);
}

// "p_ids => $3::bigint[], p_leases => $4::bigint[]": the first is $`first`.
template <class Row, size_t n>
consteval SqlText arrays(const Argument<Row> (&arguments)[n], size_t first) {
  SqlText sql;
  for (size_t i = 0; i < n; ++i) {
    const size_t number = first + i;
    const char digits[] = {static_cast<char>('0' + number / 10),
                           static_cast<char>('0' + number % 10)};
    if (i > 0) sql += ", ";
    sql += arguments[i].name;
    sql += " => $";
    sql += number < 10 ? std::string_view(digits + 1, 1) : std::string_view(digits, 2);
    sql += "::";
    sql += arguments[i].type;
  }
  return sql;
}

template <class Make>
struct JoinedText {
  static constexpr SqlText kWhole = Make{}();
  static constexpr auto kText = [] {
    std::array<char, kWhole.size + 1> text{};
    std::copy_n(kWhole.text.begin(), kWhole.size, text.begin());
    return text;
  }();
};
template <class Make>
consteval const char* joined(Make) {
  return JoinedText<Make>::kText.data();
}

}  // namespace parkd
