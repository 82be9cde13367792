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

// A weight that is not drawn yet: a norm of one row, or a matrix. `head`: rows of tokens that a
// model should not say, or seldom, are smaller (head_scale).
struct TinyWeightPlan {
  std::string name;
  int64_t rows = 1;
  int64_t columns = 0;
  float mean = 0;
  float deviation = 1;
  bool is_matrix = false;
  bool head = false;
};
// In the order of tiny_weights().
std::vector<TinyWeightPlan> plan_tiny_weights(const TinyModelOptions& options, int64_t vocab);

inline bool is_bias(const std::string& name) {
  return name.ends_with(".bias");
}

}  // namespace parkd::testing
