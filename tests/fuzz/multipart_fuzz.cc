// The first line is a Content-Type, the rest a body. Whatever the body is and however it is cut, a
// form's reader tells the same of it; of a body that it takes, no part holds the boundary at the
// beginning of a line.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "tests/support/multipart_events.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const size_t line = text.find('\n');
  if (line == text.npos) return 0;
  const auto named = parkd::MultipartReader::boundary_of(text.substr(0, line));
  const std::string boundary = named.ok() ? *named : "b";
  const std::string_view body = text.substr(line + 1);

  using parkd::testing::multipart_events;
  const auto whole = multipart_events(boundary, body);
  const auto by_bytes = multipart_events(boundary, body, [] { return size_t{1}; });
  uint64_t state = size * 0x9e3779b97f4a7c15ull + 1;  // xorshift64, the same for the same input
  const auto in_cuts = multipart_events(boundary, body, [&] {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return size_t{1} + state % (boundary.size() + 7);
  });
  if (!(whole == by_bytes) || !(whole == in_cuts)) std::abort();
  if (whole.end.ok() && whole.told.find("\r\n--" + boundary) != whole.told.npos) std::abort();
  return 0;
}
