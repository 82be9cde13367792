// The names of GGUF files that one model is split into: NAME-00001-of-00005.gguf. Pure, any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace parkd {

inline constexpr int64_t kGgufPartsMax = 1024;

struct GgufPartName {
  std::string_view before;  // "NAME"
  int32_t number = 0;       // from 1 on
  int32_t count = 0;
};

// Empty: `path` is not called so.
std::optional<GgufPartName> gguf_part_name(std::string_view path);

std::string gguf_part_path(const GgufPartName& name);

// The first part where `paths`, in any order, are all parts of one model, whether or not all are
// there; empty: they are not.
std::optional<std::string> first_of_gguf_parts(std::span<const std::string> paths);

}  // namespace parkd
