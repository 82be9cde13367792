#include "lib/backend/cpu/cpu_weights.h"

#include <limits>
#include <optional>
#include <string>
#include <utility>

#include "kernels/cpu/pack.h"
#include "lib/base/check.h"

namespace parkd {
namespace {

std::optional<cpu::SourceType> source_type(TensorType type) {
  switch (type) {
    case TensorType::f32:
      return cpu::SourceType::f32;
    case TensorType::f16:
      return cpu::SourceType::f16;
    case TensorType::bf16:
      return cpu::SourceType::bf16;
    case TensorType::q4_0:
      return cpu::SourceType::q4_0;
    case TensorType::q4_1:
      return cpu::SourceType::q4_1;
    case TensorType::q8_0:
      return cpu::SourceType::q8_0;
  }
  return std::nullopt;
}

bool is_quantised(cpu::SourceType type) {
  return type == cpu::SourceType::q4_0 || type == cpu::SourceType::q4_1 ||
         type == cpu::SourceType::q8_0;
}

cpu::PanelType panel_type(cpu::SourceType type, Dtype dtype) {
  if (dtype == Dtype::f32) return cpu::PanelType::f32;
  switch (type) {
    case cpu::SourceType::q4_0:
      return cpu::PanelType::q4_0;
    case cpu::SourceType::q4_1:
      return cpu::PanelType::q4_1;
    case cpu::SourceType::q8_0:
      return cpu::PanelType::q8_0;
    default:
      return cpu::PanelType::bf16;
  }
}

Status tensor_error(const TensorView& tensor, const std::string& what) {
  return invalid("tensor " + std::string(tensor.name) + ": " + what);
}

// The source type of a tensor whose type, size and bytes are as they must be.
Result<cpu::SourceType> check_tensor(const TensorView& tensor) {
  const auto type = source_type(tensor.type);
  if (!type) {
    return tensor_error(tensor, "type " + std::to_string(static_cast<uint32_t>(tensor.type)) +
                                    " is not one of f32, f16, bf16, q4_0, q4_1, q8_0");
  }
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  if (tensor.rows <= 0 || tensor.columns <= 0 || tensor.rows > kMost || tensor.columns > kMost) {
    return tensor_error(tensor, "size " + std::to_string(tensor.rows) + " x " +
                                    std::to_string(tensor.columns) + " is outside 1.." +
                                    std::to_string(kMost));
  }
  if (is_quantised(*type) && tensor.columns % cpu::kBlock != 0) {
    return tensor_error(tensor, std::to_string(tensor.columns) +
                                    " columns of a quantised type are not a multiple of 32");
  }
  const int64_t wanted = tensor.rows * cpu::source_row_bytes(*type, tensor.columns);
  if (static_cast<int64_t>(tensor.bytes.size()) != wanted) {
    return tensor_error(tensor, std::to_string(tensor.bytes.size()) +
                                    " bytes where its size asks " + std::to_string(wanted));
  }
  return *type;
}

}  // namespace

Result<MatrixId> CpuWeights::load_matrix(std::span<const TensorView> parts) {
  if (parts.empty()) return invalid("a matrix of no tensors");
  CpuMatrix matrix;
  matrix.k = parts.front().columns;
  for (const TensorView& tensor : parts) {
    PARKD_ASSIGN_OR_RETURN(const cpu::SourceType type, check_tensor(tensor));
    if (tensor.columns != matrix.k) {
      return tensor_error(tensor, std::to_string(tensor.columns) + " columns where " +
                                      std::string(parts.front().name) + " has " +
                                      std::to_string(matrix.k));
    }
    CpuMatrix::Part part;
    part.packed.type = panel_type(type, dtype_);
    part.packed.n_outputs = tensor.rows;
    part.packed.k = matrix.k;
    part.first_column = matrix.n_columns;
    part.first_panel = matrix.n_panels;
    const int64_t bytes =
        cpu::panel_count(tensor.rows) * cpu::panel_bytes(part.packed.type, matrix.k);
    PARKD_ASSIGN_OR_RETURN(part.memory, MappedMemory::make(static_cast<size_t>(bytes)));
    part.packed.panels = part.memory.data();
    cpu::pack_matrix(type, tensor.bytes.data(), tensor.rows, matrix.k, part.packed.type,
                     part.memory.data());
    weight_bytes_ += bytes;
    matrix.n_columns += tensor.rows;
    matrix.n_panels += cpu::panel_count(tensor.rows);
    matrix.reads_bf16 |= part.packed.type == cpu::PanelType::bf16;
    matrix.reads_q8 |=
        part.packed.type != cpu::PanelType::bf16 && part.packed.type != cpu::PanelType::f32;
    matrix.parts.push_back(std::move(part));
  }
  matrices_.push_back(std::move(matrix));
  return MatrixId{static_cast<int32_t>(matrices_.size()) - 1};
}

Result<VectorId> CpuWeights::load_vector(const TensorView& vector) {
  PARKD_ASSIGN_OR_RETURN(const cpu::SourceType type, check_tensor(vector));
  if (vector.rows != 1 && vector.columns != 1) {
    return tensor_error(vector, std::to_string(vector.rows) + " x " +
                                    std::to_string(vector.columns) + " is not a vector");
  }
  const int64_t n = vector.rows * vector.columns;
  std::vector<float> values(static_cast<size_t>(n));
  cpu::dequantise_source_row(type, vector.bytes.data(), n, values.data());
  weight_bytes_ += n * static_cast<int64_t>(sizeof(float));
  vectors_.push_back(std::move(values));
  return VectorId{static_cast<int32_t>(vectors_.size()) - 1};
}

Status CpuWeights::allocate_kv(const ModelShape& shape, int64_t n_blocks, int32_t block_size) {
  if (block_size < cpu::kKvTile || block_size > 256 || block_size % cpu::kKvTile != 0) {
    return invalid("block_size " + std::to_string(block_size) +
                   " is not one of 32, 64, 96, ... 256");
  }
  if (n_blocks <= 0 || n_blocks > std::numeric_limits<int32_t>::max()) {
    return invalid("KV memory of " + std::to_string(n_blocks) + " blocks");
  }
  PARKD_CHECK(kv_.bytes() == 0, "KV memory is allocated once");
  block_size_ = block_size;
  head_dim_ = shape.head_dim;
  head_block_bytes_ = int64_t{block_size} * shape.head_dim * dtype_bytes(dtype_);
  block_bytes_ = 2 * head_block_bytes_ * shape.n_kv_heads;
  layer_bytes_ = block_bytes_ * n_blocks;
  PARKD_ASSIGN_OR_RETURN(kv_,
                         MappedMemory::make(static_cast<size_t>(layer_bytes_ * shape.n_layers)));
  return {};
}

cpu::KvView CpuWeights::kv_view(int32_t layer, int32_t kv_head) const {
  cpu::KvView view;
  view.type = dtype_ == Dtype::f32   ? cpu::KvType::f32
              : dtype_ == Dtype::f16 ? cpu::KvType::f16
                                     : cpu::KvType::bf16;
  view.k = kv_.data() + layer * layer_bytes_ + kv_head * head_block_bytes_;
  view.v = view.k + block_bytes_ / 2;
  view.block_stride_bytes = block_bytes_;
  view.block_size = block_size_;
  view.head_dim = head_dim_;
  return view;
}

}  // namespace parkd
