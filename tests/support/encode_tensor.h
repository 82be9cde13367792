// Numbers as a tensor of a file holds them. For tests.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "lib/weights/tensor.h"

namespace parkd::testing {

// Whether there is an encoder of `type`: the plain types, Q4_0, Q4_1, Q8_0.
bool can_encode(TensorType type);

// Requires a type that can_encode(), and whole blocks.
std::vector<uint8_t> encode(TensorType type, std::span<const float> values);

}  // namespace parkd::testing
