// A tensor's numbers as floats, by ggml's formulas and with their bits
// (kernels/common/block_formats.h has the layouts): the reference of every backend's float path.
// Pure, any thread.
#pragma once

#include <cstdint>

#include "lib/weights/tensor.h"

namespace parkd {

// `n` elements, whole blocks of `type`, from `from` on.
void dequantise(TensorType type, const uint8_t* from, int64_t n, float* to);

// The first of `n` elements' blocks that has no finite number for some code, as the index of its
// first element; -1: there is none. A scale of infinity or NaN is what a damaged file has.
int64_t first_not_finite(TensorType type, const uint8_t* from, int64_t n);

}  // namespace parkd
