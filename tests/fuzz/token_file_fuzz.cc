// Any bytes are tokens or a message; tokens that are written read the same.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "lib/config/token_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto table = parkd::parse_tokens(text, "fuzz");
  if (!table.ok()) {
    if (table.status().message().rfind("fuzz:", 0) != 0) std::abort();
    return 0;
  }
  std::string written;
  for (const parkd::TokenEntry& entry : table->entries()) written += token_line(entry) + "\n";
  const auto again = parkd::parse_tokens(written, "written");
  if (!again.ok() || again->entries() != table->entries()) std::abort();
  return 0;
}
