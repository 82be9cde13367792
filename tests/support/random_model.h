// Models of the shape and vocabulary of real ones, with random weights: for speed, and for
// comparing devices, where no real model can be brought. As the tests' tiny models (tiny_model.h),
// but written piece by piece: 14 GB need no memory. Weights repeat themselves every few million
// numbers, at another place of each matrix.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/status.h"
#include "tests/support/tiny_model.h"

namespace parkd::testing {

struct RandomModel {
  std::string name;
  TinyModelOptions options;
  int32_t vocab = 0;  // filled up with tokens that no text gives
};

// "mistral-7b", "ministral-3-3b", "qwen3-0.6b", "qwen3-8b" by the models' own configuration files,
// and "mini" and "mini-qwen3": some hundred kilobytes, of shapes that the CUDA kernels have.
const std::vector<RandomModel>& random_models();
// nullptr when there is none of that name.
const RandomModel* find_random_model(std::string_view name);

// Bytes that write_random_model() writes, but for some of the head.
int64_t random_model_bytes(const RandomModel& model);

// Errors: unavailable, with the path, where it cannot be written; invalid for a type whose blocks
// do not fill the rows.
Status write_random_model(const std::string& path, const RandomModel& model);

}  // namespace parkd::testing
