// Files of secrets, which others than their owner and group may not read, nor others than their
// owner change. Keeps nothing; any thread.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "lib/base/status.h"

namespace parkd {

struct PrivateFile {
  std::string key;  // of the configuration, that names it
  std::string path;
  std::string why_private;  // "others could read it or change who may come"
  std::string where_from;   // what makes one, where there is none; may be empty
  size_t bytes_max = 1 << 20;
};

// The file whole, or its first bytes_max + 1 bytes. Errors: invalid (param = the key), with the
// chmod that mends it.
Result<std::string> read_private_file(const PrivateFile& file);

}  // namespace parkd
