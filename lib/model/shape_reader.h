// ShapeReader: a decoder's numbers out of a GGUF file's keys, for the families (family.h) to put
// together. Reads one file on one thread. Errors are corrupt for what contradicts itself or is
// absurd, invalid for what is sound and not supported yet; both name key, value and limits.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/status.h"
#include "lib/model/shape.h"
#include "lib/weights/gguf.h"

namespace parkd {

// The tensor that rope_divisors() reads.
inline constexpr std::string_view kRopeDivisors = "rope_freqs.weight";

class ShapeReader {
 public:
  // Keys are `architecture` + "." + name.
  ShapeReader(const GgufFile& file, std::string_view architecture)
      : file_(file), prefix_(std::string(architecture) + ".") {}

  // Layers, widths, heads, context and eps. Refuses keys that would mean other arithmetic.
  Status read_sizes(ModelShape& shape) const;

  // RoFormer (Su et al. 2021): inv_freq[i] = base^(-2i / d) / divisors[i], no divisors being ones.
  // Adds it to shape.ropes. Refuses scalings and heads that are rotated in part.
  Status add_rope(RopeLayout layout, std::span<const float> divisors, ModelShape& shape) const;

  // (head_dim / 2) of the file's kRopeDivisors; empty: it has none.
  Result<std::vector<float>> rope_divisors(const ModelShape& shape);
  bool used_rope_divisors() const { return used_rope_divisors_; }

 private:
  std::string key(std::string_view name) const { return prefix_ + std::string(name); }
  Status refuse_other_arithmetic() const;
  Status read_heads(ModelShape& shape) const;
  // An integer of [low, high].
  Result<int32_t> dimension(std::string_view name, int64_t low, int64_t high) const;
  Status unsupported(const std::string& what) const { return invalid(file_.error_text(what)); }

  const GgufFile& file_;
  const std::string prefix_;
  bool used_rope_divisors_ = false;
};

}  // namespace parkd
