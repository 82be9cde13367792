#include "tools/jobctl/time_option.h"

#include <charconv>

namespace parkd::jobctl {

Result<std::chrono::seconds> parse_duration(const std::string& text) {
  constexpr int64_t kSecondsMax = 3650LL * 24 * 3600;
  int64_t count = 0;
  const char* end = text.data() + text.size();
  const auto [unit, error] = std::from_chars(text.data(), end, count);
  int64_t seconds_each = 0;
  const std::string_view rest(unit, static_cast<size_t>(end - unit));
  if (rest.empty() || rest == "s") seconds_each = 1;
  if (rest == "m") seconds_each = 60;
  if (rest == "h") seconds_each = 3600;
  if (rest == "d") seconds_each = 24 * 3600;
  if (error != std::errc() || seconds_each == 0 || count < 0 ||
      count > kSecondsMax / seconds_each) {
    return invalid("\"" + text +
                   "\" is not a duration such as 90s, 15m, 8h or 2d (at most 10 years)");
  }
  return std::chrono::seconds(count * seconds_each);
}

Result<std::string> parse_instant(const std::string& text, WallTime now) {
  if (text.empty() || text.front() != '+') return text;
  PARKD_ASSIGN_OR_RETURN(const auto from_now, parse_duration(text.substr(1)));
  return to_rfc3339(now + from_now);
}

}  // namespace parkd::jobctl
