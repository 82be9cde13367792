#include "lib/weights/tensor_check.h"

#include <limits>

#include "lib/weights/dequantise.h"
#include "lib/weights/formats.h"

namespace parkd {
namespace {

std::string types_we_read() {
  std::string names;
  for (const TensorFormat& format : kTensorFormats) {
    names += (names.empty() ? "" : ", ") + std::string(format.name);
  }
  return names;
}

// A scale of infinity or NaN is what a damaged file has, and would make every answer nonsense.
// Plain numbers are taken as they are: a row of logits that meets one is marked by the sampler.
Status check_scales(const TensorView& tensor) {
  const TensorFormat& format = format_of(tensor.type);
  if (!format.is_quantised()) return {};
  const int64_t at =
      first_not_finite(tensor.type, tensor.bytes.data(), tensor.rows * tensor.columns);
  if (at < 0) return {};
  return tensor_error(tensor, "the scale of its block of " + std::string(format.name) + " at row " +
                                  std::to_string(tensor.first_row + at / tensor.columns) +
                                  ", column " + std::to_string(at % tensor.columns) +
                                  " is not finite");
}

std::string size_of(const TensorView& tensor) {
  return std::to_string(tensor.rows) + " x " + std::to_string(tensor.columns);
}

}  // namespace

Status tensor_error(const TensorView& tensor, const std::string& what) {
  return invalid("tensor " + std::string(tensor.name) + ": " + what);
}

int64_t tensor_row_bytes(const TensorView& tensor) {
  const TensorFormat& format = format_of(tensor.type);
  return tensor.columns / format.block_elements * format.block_bytes;
}

Status check_tensor(const TensorView& tensor) {
  const TensorFormat* format = find_format(tensor.type);
  if (format == nullptr) {
    return tensor_error(tensor, "type " + std::to_string(static_cast<uint32_t>(tensor.type)) +
                                    " is not one of " + types_we_read());
  }
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  if (tensor.rows <= 0 || tensor.columns <= 0 || tensor.rows > kMost || tensor.columns > kMost) {
    return tensor_error(tensor,
                        "size " + size_of(tensor) + " is outside 1.." + std::to_string(kMost));
  }
  if (tensor.columns % format->block_elements != 0) {
    return tensor_error(tensor, std::to_string(tensor.columns) +
                                    " columns of a quantised type are not a multiple of " +
                                    std::to_string(format->block_elements));
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
    PARKD_RETURN_IF_ERROR(check_scales(part));
  }
  return {};
}

Status check_vector(const TensorView& tensor) {
  PARKD_RETURN_IF_ERROR(check_tensor(tensor));
  if (tensor.rows != 1 && tensor.columns != 1) {
    return tensor_error(tensor, size_of(tensor) + " is not a vector");
  }
  return check_scales(tensor);
}

}  // namespace parkd
