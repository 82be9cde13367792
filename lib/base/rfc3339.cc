#include "lib/base/rfc3339.h"

#include <charconv>
#include <chrono>
#include <cstdint>

#include "lib/base/json_reader.h"

namespace parkd {

std::string not_a_time(std::string_view text) {
  return "is \"" + shown_name(text) +
         "\", not a time as RFC 3339 has it, such as 2026-12-01T18:00:00Z";
}

std::optional<WallTime> parse_rfc3339(std::string_view text) {
  const auto digits = [&](size_t at, size_t n) -> int {
    int value = -1;
    if (at + n > text.size()) return -1;
    const auto [rest, error] = std::from_chars(text.data() + at, text.data() + at + n, value);
    return error == std::errc() && rest == text.data() + at + n && text[at] != '-' ? value : -1;
  };
  const auto is = [&](size_t at, char c) { return at < text.size() && text[at] == c; };
  const int year = digits(0, 4);
  const int month = digits(5, 2);
  const int day = digits(8, 2);
  const int hour = digits(11, 2);
  const int minute = digits(14, 2);
  const int second = digits(17, 2);
  const bool separators = is(4, '-') && is(7, '-') && (is(10, 'T') || is(10, 't') || is(10, ' ')) &&
                          is(13, ':') && is(16, ':');
  if (!separators || year < 1970 || month < 1 || day < 1 || hour < 0 || hour > 23 || minute < 0 ||
      minute > 59 || second < 0 || second > 60) {
    return std::nullopt;
  }
  const std::chrono::year_month_day date{std::chrono::year(year),
                                         std::chrono::month(static_cast<unsigned>(month)),
                                         std::chrono::day(static_cast<unsigned>(day))};
  if (!date.ok()) return std::nullopt;
  size_t at = 19;
  int64_t fraction_us = 0;
  if (is(at, '.')) {
    int64_t weight_us = 100'000;
    for (++at; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at) {
      fraction_us += (text[at] - '0') * weight_us;
      weight_us /= 10;
    }
  }
  int64_t offset_s = 0;
  if (is(at, '+') || is(at, '-')) {
    const int offset_hour = digits(at + 1, 2);
    const int offset_minute = digits(at + 4, 2);
    if (offset_hour < 0 || offset_hour > 23 || offset_minute < 0 || offset_minute > 59 ||
        !is(at + 3, ':') || at + 6 != text.size()) {
      return std::nullopt;
    }
    offset_s = (text[at] == '-' ? -1 : 1) * (offset_hour * 3600 + offset_minute * 60);
  } else if (!(is(at, 'Z') || is(at, 'z')) || at + 1 != text.size()) {
    return std::nullopt;
  }
  const int64_t days = std::chrono::sys_days(date).time_since_epoch().count();
  const int64_t unix_s = days * 86400 + hour * 3600 + minute * 60 + second - offset_s;
  return from_unix_us(unix_s * 1'000'000 + fraction_us);
}

}  // namespace parkd
