#include "tools/jobctl/time_option.h"

#include <charconv>
#include <cstdio>
#include <ctime>
#include <optional>
#include <string_view>

#include "lib/base/rfc3339.h"

namespace parkd::jobctl {
namespace {

constexpr int64_t kSecondsMax = 3650LL * 24 * 3600;
constexpr const char* kInstants =
    "+8h (from now), 2026-12-01T18:00 (this machine's time zone) or 2026-12-01T18:00:00Z";

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

std::string quoted(const std::string& option, const std::string& text) {
  return option + " \"" + text + "\"";
}

// "2026-12-01", "2026-12-01T18:00", "2026-12-01 18:00:30" of this machine's zone. Nothing: another
// form, or a day or an hour that there is not.
std::optional<WallTime> parse_local(const std::string& text) {
  std::tm given{};
  int end = 0;
  const int n = std::sscanf(text.c_str(), "%4d-%2d-%2d%n", &given.tm_year, &given.tm_mon,
                            &given.tm_mday, &end);
  if (n != 3 || end != 10) return std::nullopt;
  std::string_view rest = std::string_view(text).substr(10);
  if (!rest.empty()) {
    if (rest.front() != 'T' && rest.front() != 't' && rest.front() != ' ') return std::nullopt;
    const std::string clock(rest.substr(1));
    const bool has_seconds = clock.size() == 8;
    if (clock.size() != 5 && !has_seconds) return std::nullopt;
    end = 0;
    const int parts =
        has_seconds ? std::sscanf(clock.c_str(), "%2d:%2d:%2d%n", &given.tm_hour, &given.tm_min,
                                  &given.tm_sec, &end)
                    : std::sscanf(clock.c_str(), "%2d:%2d%n", &given.tm_hour, &given.tm_min, &end);
    if (parts != (has_seconds ? 3 : 2) || static_cast<size_t>(end) != clock.size())
      return std::nullopt;
  }
  given.tm_year -= 1900;
  given.tm_mon -= 1;
  given.tm_isdst = -1;
  std::tm made = given;
  const std::time_t time = std::mktime(&made);
  const bool is_one = time != -1 && made.tm_mon == given.tm_mon && made.tm_mday == given.tm_mday &&
                      made.tm_hour == given.tm_hour && made.tm_min == given.tm_min;
  if (!is_one) return std::nullopt;
  return WallTime(std::chrono::seconds(time));
}

// RFC 3339 with what people leave out: a blank for T, no seconds, "+0200".
std::string in_full(std::string text) {
  if (text.size() > 10 && text[10] == ' ') text[10] = 'T';
  const size_t zone = text.find_first_of("Zz+-", 11);
  if (text.size() < 11 || zone == std::string::npos) return text;
  std::string offset = text.substr(zone);
  if (offset.size() == 5) offset.insert(3, ":");
  if (offset.size() == 3) offset += ":00";
  std::string instant = text.substr(0, zone);
  while (!instant.empty() && instant.back() == ' ') instant.pop_back();
  if (instant.size() == 16) instant += ":00";
  return instant + offset;
}

}  // namespace

Result<std::chrono::seconds> parse_duration(const std::string& option, const std::string& text) {
  int64_t count = 0;
  const char* end = text.data() + text.size();
  const auto [unit, error] = std::from_chars(text.data(), end, count);
  int64_t seconds_each = 0;
  const std::string_view rest(unit, static_cast<size_t>(end - unit));
  if (rest == "s") seconds_each = 1;
  if (rest == "m") seconds_each = 60;
  if (rest == "h") seconds_each = 3600;
  if (rest == "d") seconds_each = 24 * 3600;
  if (error == std::errc() && rest.empty() && count >= 0) {
    return invalid(quoted(option, text) + " has no unit: " + text + "s, " + text + "m, " + text +
                   "h or " + text + "d (seconds, minutes, hours, days)");
  }
  if (error != std::errc() || seconds_each == 0 || count < 0) {
    return invalid(quoted(option, text) +
                   " is not a duration: a whole number and s, m, h or d, "
                   "as 90s, 15m, 8h, 2d");
  }
  if (count > kSecondsMax / seconds_each) {
    return invalid(quoted(option, text) + " is longer than 10 years");
  }
  return std::chrono::seconds(count * seconds_each);
}

Result<std::string> parse_instant(const std::string& option, const std::string& text,
                                  WallTime now) {
  if (text.empty()) return text;
  if (is_relative(text)) {
    const std::string from_now = text.front() == '+' ? text.substr(1) : text;
    PARKD_ASSIGN_OR_RETURN(const auto duration, parse_duration(option, from_now));
    return to_rfc3339(now + duration);
  }
  if (const auto local = parse_local(text)) return to_rfc3339(*local);
  if (const auto instant = parse_rfc3339(in_full(text))) return to_rfc3339(*instant);
  return invalid(quoted(option, text) + " is not a time: " + kInstants);
}

std::string refuse_empty(const std::string& text) {
  return text.empty() ? "\"\" is not a time: leave the option out, or give it a value" : "";
}

bool is_relative(const std::string& text) {
  if (!text.empty() && text.front() == '+') return true;
  // "8h", and "8", whose unit is missing; not "2026-12-01".
  return !text.empty() && is_digit(text.front()) && text.find_first_of("-:") == std::string::npos;
}

}  // namespace parkd::jobctl
