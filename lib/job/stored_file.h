// StoredFile: a file that a client uploaded (OpenAI's Files), as stores keep it. Plain values, any
// thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "lib/base/clock.h"

namespace parkd {

inline constexpr std::string_view kPurposeBatch = "batch";  // the one that clients can give
inline constexpr std::string_view kPurposeBatchOutput = "batch_output";  // of a batch's results

// What a client says of a file beside its bytes.
struct FileSpec {
  std::string filename;
  std::string purpose{kPurposeBatch};
  std::optional<std::chrono::seconds> life{};  // from its creation; empty: kFileLifeDefault
};

struct StoredFile {
  std::string id;  // "file-" and 32 hexadecimal digits of random bits
  std::string tenant;
  std::string filename;
  std::string purpose;
  int64_t bytes = 0;
  WallTime created_at{};
  WallTime expires_at{};
  friend bool operator==(const StoredFile&, const StoredFile&) = default;
};

}  // namespace parkd
