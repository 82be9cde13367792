// The weights of the tests' tiny models (tiny_model.h), in GGUF's order, names and types.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/support/tiny_model.h"

namespace parkd::testing {

struct TinyWeight {
  std::string name;  // as GGUF has it, but for ".weight"
  TensorType type;
  int64_t rows;
  int64_t columns;
  std::vector<uint8_t> bytes;
};

// 2^-12: norms of a family that keeps them less an offset are its multiples.
inline constexpr float kTinyNormStep = 0x1p-12F;

std::vector<TinyWeight> tiny_weights(const TinyModelOptions& options, int64_t vocab);

inline bool is_bias(const std::string& name) {
  return name.ends_with(".bias");
}

}  // namespace parkd::testing
