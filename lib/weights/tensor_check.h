// What every backend checks of a tensor before it reads one: the file is the user's, and a wrong
// size must be an error that names the tensor, not a read outside the map. Any thread.
#pragma once

#include <span>
#include <string>

#include "lib/base/status.h"
#include "lib/weights/tensor.h"

namespace parkd {

// "tensor blk.0.attn_q: ..."; invalid.
Status tensor_error(const TensorView& tensor, const std::string& what);

// Bytes of a row. Requires a checked tensor.
int64_t tensor_row_bytes(const TensorView& tensor);

// A type we read, a size of 1..2^31-1 each way, whole blocks, and exactly the bytes these ask.
Status check_tensor(const TensorView& tensor);

// The same for each of the tensors that one product is stacked of: some, and all as wide; and every
// scale of a quantised type finite.
Status check_parts(std::span<const TensorView> parts);

// The same, scales too, for a tensor with one row or one column.
Status check_vector(const TensorView& tensor);

}  // namespace parkd
