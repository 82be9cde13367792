#include "lib/backend/cuda/cuda_weights.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <string>
#include <utility>

#include "lib/base/check.h"
#include "lib/weights/tensor_check.h"

namespace parkd::cuda {
namespace {

constexpr size_t kStagingBuffers = 2;
constexpr size_t kStagingBytes = size_t{16} << 20;
constexpr int32_t kBlockSizeMultiple = 8;
constexpr int32_t kBlockSizeMax = 256;

}  // namespace

Element element_of(Dtype dtype) {
  switch (dtype) {
    case Dtype::f32:
      return Element::f32;
    case Dtype::f16:
      return Element::f16;
    case Dtype::bf16:
      return Element::bf16;
  }
  return Element::bf16;
}

Result<CudaWeights> CudaWeights::make(Dtype dtype, const Stream& stream) {
  CudaWeights weights;
  weights.stream_ = &stream;
  weights.element_ = element_of(dtype);
  for (size_t i = 0; i < kStagingBuffers; ++i) {
    Staging staging;
    PARKD_ASSIGN_OR_RETURN(staging.host, PinnedBuffer::make(kStagingBytes));
    PARKD_ASSIGN_OR_RETURN(staging.device, DeviceBuffer::make(kStagingBytes, stream));
    PARKD_ASSIGN_OR_RETURN(staging.done, Event::make());
    PARKD_RETURN_IF_ERROR(staging.done.record(stream));
    weights.staging_.push_back(std::move(staging));
  }
  return weights;
}

Status CudaWeights::finish_loading() {
  PARKD_RETURN_IF_ERROR(stream_->synchronize());
  staging_.clear();
  return {};
}

// A tensor's rows, as many at once as a staging buffer holds, to `to` as `element`.
Status CudaWeights::copy_rows(const TensorView& tensor, uint8_t* to, Element element) {
  const int64_t row_bytes = tensor_row_bytes(tensor);
  const int64_t rows_at_once = static_cast<int64_t>(kStagingBytes) / row_bytes;
  if (rows_at_once == 0) {
    return tensor_error(tensor, "a row of " + std::to_string(row_bytes) +
                                    " bytes is longer than the staging buffer of " +
                                    std::to_string(kStagingBytes));
  }
  for (int64_t row = 0; row < tensor.rows; row += rows_at_once) {
    const int64_t n_rows = std::min(rows_at_once, tensor.rows - row);
    const auto bytes = static_cast<size_t>(n_rows * row_bytes);
    const Staging& staging = staging_[next_staging_];
    next_staging_ = (next_staging_ + 1) % staging_.size();
    PARKD_RETURN_IF_ERROR(staging.done.synchronize());
    std::memcpy(staging.host.data(), tensor.bytes.data() + row * row_bytes, bytes);
    PARKD_RETURN_IF_ERROR(to_status(cudaMemcpyAsync(staging.device.as<void>(), staging.host.data(),
                                                    bytes, cudaMemcpyHostToDevice, stream_->get()),
                                    "copying a tensor"));
    DequantiseParams params = {};
    params.from = staging.device.as<uint8_t>();
    params.type = static_cast<int32_t>(tensor.type);
    params.rows = n_rows;
    params.columns = tensor.columns;
    params.to = to + row * tensor.columns * element_bytes(element);
    params.element = element;
    PARKD_RETURN_IF_ERROR(
        to_status(launch_dequantise(params, stream_->get()), "dequantising a tensor"));
    PARKD_RETURN_IF_ERROR(staging.done.record(*stream_));
  }
  return {};
}

Result<MatrixId> CudaWeights::load_matrix(std::span<const TensorView> parts) {
  PARKD_RETURN_IF_ERROR(check_parts(parts));
  CudaMatrix matrix;
  matrix.k = parts.front().columns;
  for (const TensorView& part : parts) matrix.n_outputs += part.rows;
  if (matrix.n_outputs > std::numeric_limits<int32_t>::max()) {
    return tensor_error(parts.front(), "stacked rows are more than 2^31 - 1");
  }
  const int64_t row_bytes = matrix.k * element_bytes(element_);
  const int64_t bytes = matrix.n_outputs * row_bytes;
  PARKD_ASSIGN_OR_RETURN(matrix.memory, DeviceBuffer::make(static_cast<size_t>(bytes), *stream_));
  auto* to = matrix.memory.as<uint8_t>();
  for (const TensorView& part : parts) {
    PARKD_RETURN_IF_ERROR(copy_rows(part, to, element_));
    to += part.rows * row_bytes;
  }
  weight_bytes_ += bytes;
  matrices_.push_back(std::move(matrix));
  return MatrixId{static_cast<int32_t>(matrices_.size()) - 1};
}

Result<VectorId> CudaWeights::load_vector(const TensorView& vector) {
  PARKD_RETURN_IF_ERROR(check_vector(vector));
  const int64_t bytes = vector.rows * vector.columns * static_cast<int64_t>(sizeof(float));
  PARKD_ASSIGN_OR_RETURN(DeviceBuffer memory,
                         DeviceBuffer::make(static_cast<size_t>(bytes), *stream_));
  PARKD_RETURN_IF_ERROR(copy_rows(vector, memory.as<uint8_t>(), Element::f32));
  weight_bytes_ += bytes;
  vectors_.push_back(std::move(memory));
  return VectorId{static_cast<int32_t>(vectors_.size()) - 1};
}

Status CudaWeights::allocate_kv(const ModelShape& shape, int64_t n_blocks, int32_t block_size) {
  if (block_size < kBlockSizeMultiple || block_size > kBlockSizeMax ||
      block_size % kBlockSizeMultiple != 0) {
    return invalid_param("block_size", "block_size " + std::to_string(block_size) +
                                           " is not one of 8, 16, 24, ... 256");
  }
  if (n_blocks <= 0 || n_blocks > std::numeric_limits<int32_t>::max()) {
    return invalid("KV memory of " + std::to_string(n_blocks) + " blocks");
  }
  free_kv();
  const int64_t bytes = int64_t{shape.n_layers} * n_blocks * 2 * shape.n_kv_heads * block_size *
                        shape.head_dim * element_bytes(element_);
  PARKD_ASSIGN_OR_RETURN(kv_memory_, DeviceBuffer::make(static_cast<size_t>(bytes), *stream_));
  kv_.base = kv_memory_.as<void>();
  kv_.element = element_;
  kv_.n_layers = shape.n_layers;
  kv_.n_blocks = n_blocks;
  kv_.n_kv_heads = shape.n_kv_heads;
  kv_.block_size = block_size;
  kv_.head_dim = shape.head_dim;
  return stream_->synchronize();
}

void CudaWeights::free_kv() {
  kv_ = {};
  kv_memory_ = {};
}

}  // namespace parkd::cuda
