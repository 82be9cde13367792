// Any bytes are a Config or a message; what is accepted prints to text that parses to the same.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "lib/config/config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  parkd::ConfigInputs inputs;
  inputs.environment = [](std::string_view name) -> std::optional<std::string> {
    if (name == "HOME") return "/home/${x}";
    return std::nullopt;
  };
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto config = parkd::parse_config(text, "fuzz.yaml", inputs);
  if (!config.ok()) {
    if (config.status().message().rfind("fuzz.yaml:", 0) != 0) std::abort();
    return 0;
  }
  const std::string printed = parkd::print_config(*config);
  const auto again = parkd::parse_config(printed, "printed.yaml", inputs);
  if (!again.ok() || !(*again == *config)) {
    std::fprintf(stderr, "%s\n%s\n", again.status().to_string().c_str(), printed.c_str());
    std::abort();
  }
  return 0;
}
