#include "lib/weights/tensor_check.h"

#include <limits>

#include "lib/weights/gguf.h"

namespace parkd {
namespace {

bool is_known(TensorType type) {
  switch (type) {
    case TensorType::f32:
    case TensorType::f16:
    case TensorType::bf16:
    case TensorType::q4_0:
    case TensorType::q4_1:
    case TensorType::q8_0:
      return true;
  }
  return false;
}

std::string size_of(const TensorView& tensor) {
  return std::to_string(tensor.rows) + " x " + std::to_string(tensor.columns);
}

}  // namespace

Status tensor_error(const TensorView& tensor, const std::string& what) {
  return invalid("tensor " + std::string(tensor.name) + ": " + what);
}

int64_t tensor_row_bytes(const TensorView& tensor) {
  return tensor.columns / block_elements(tensor.type) * block_bytes(tensor.type);
}

Status check_tensor(const TensorView& tensor) {
  if (!is_known(tensor.type)) {
    return tensor_error(tensor, "type " + std::to_string(static_cast<uint32_t>(tensor.type)) +
                                    " is not one of f32, f16, bf16, q4_0, q4_1, q8_0");
  }
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  if (tensor.rows <= 0 || tensor.columns <= 0 || tensor.rows > kMost || tensor.columns > kMost) {
    return tensor_error(tensor,
                        "size " + size_of(tensor) + " is outside 1.." + std::to_string(kMost));
  }
  if (tensor.columns % block_elements(tensor.type) != 0) {
    return tensor_error(tensor, std::to_string(tensor.columns) +
                                    " columns of a quantised type are not a multiple of " +
                                    std::to_string(block_elements(tensor.type)));
  }
  const int64_t wanted = tensor.rows * tensor_row_bytes(tensor);
  if (static_cast<int64_t>(tensor.bytes.size()) != wanted) {
    return tensor_error(tensor, std::to_string(tensor.bytes.size()) +
                                    " bytes where its size asks " + std::to_string(wanted));
  }
  return {};
}

Status check_parts(std::span<const TensorView> parts) {
  if (parts.empty()) return invalid("a matrix of no tensors");
  const TensorView& first = parts.front();
  for (const TensorView& part : parts) {
    PARKD_RETURN_IF_ERROR(check_tensor(part));
    if (part.columns != first.columns) {
      return tensor_error(part, std::to_string(part.columns) + " columns where " +
                                    std::string(first.name) + " has " +
                                    std::to_string(first.columns));
    }
  }
  return {};
}

Status check_vector(const TensorView& tensor) {
  PARKD_RETURN_IF_ERROR(check_tensor(tensor));
  if (tensor.rows != 1 && tensor.columns != 1) {
    return tensor_error(tensor, size_of(tensor) + " is not a vector");
  }
  return {};
}

}  // namespace parkd
