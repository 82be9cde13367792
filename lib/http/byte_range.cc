#include "lib/http/byte_range.h"

#include <algorithm>
#include <charconv>
#include <string>

namespace parkd {
namespace {

// Digits alone; a number beyond int64 counts as its largest.
std::optional<int64_t> number(std::string_view text) {
  if (text.empty() || text.find_first_not_of("0123456789") != text.npos) return std::nullopt;
  int64_t value = 0;
  const auto read = std::from_chars(text.data(), text.data() + text.size(), value);
  return read.ec == std::errc() ? value : INT64_MAX;
}

}  // namespace

Result<std::optional<ByteRange>> read_range(std::string_view header, int64_t bytes) {
  constexpr std::string_view kUnit = "bytes=";
  const std::optional<ByteRange> all;
  if (header.substr(0, kUnit.size()) != kUnit) return all;
  const std::string_view range = header.substr(kUnit.size());
  const size_t dash = range.find('-');
  if (dash == range.npos) return all;
  const auto first = number(range.substr(0, dash));
  const auto last = number(range.substr(dash + 1));
  const bool is_suffix = dash == 0 && last;
  const bool is_open = first && dash + 1 == range.size();
  if (!is_suffix && !is_open && (!first || !last || *last < *first)) return all;
  const int64_t from = is_suffix ? bytes - std::min(*last, bytes) : *first;
  const int64_t end = is_suffix || is_open ? bytes : std::min(*last, bytes - 1) + 1;
  if (from >= bytes) {
    return invalid("Range is \"" + std::string(header.substr(0, 100)) + "\", but there are " +
                   std::to_string(bytes) + " bytes");
  }
  return std::optional(ByteRange{from, end - from});
}

}  // namespace parkd
