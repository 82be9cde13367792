// Numbers as a tensor of a file holds them. For tests.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "lib/weights/tensor.h"

namespace parkd::testing {

// Requires whole blocks of `type`.
std::vector<uint8_t> encode(TensorType type, std::span<const float> values);

}  // namespace parkd::testing
