#include "lib/backend/cpu/cpu_weights.h"

#include <limits>
#include <string>
#include <utility>

#include "kernels/cpu/pack.h"
#include "lib/base/check.h"
#include "lib/weights/dequantise.h"
#include "lib/weights/tensor_check.h"

namespace parkd {
namespace {

cpu::PanelType panel_type(TensorType type, Dtype dtype) {
  return dtype == Dtype::f32 ? cpu::PanelType::f32 : cpu::packed_type(type);
}

}  // namespace

int64_t CpuWeights::packed_bytes(const TensorView& tensor, Dtype dtype) {
  return cpu::panel_count(tensor.rows) *
         cpu::panel_bytes(panel_type(tensor.type, dtype), tensor.columns);
}

Result<MatrixId> CpuWeights::load_matrix(std::span<const TensorView> parts) {
  PARKD_RETURN_IF_ERROR(check_parts(parts));
  CpuMatrix matrix;
  matrix.k = parts.front().columns;
  for (const TensorView& tensor : parts) {
    CpuMatrix::Part part;
    part.packed.type = panel_type(tensor.type, dtype_);
    part.packed.n_outputs = tensor.rows;
    part.packed.k = matrix.k;
    part.first_column = matrix.n_columns;
    part.first_panel = matrix.n_panels;
    const int64_t bytes = packed_bytes(tensor, dtype_);
    PARKD_ASSIGN_OR_RETURN(part.memory, MappedMemory::make(static_cast<size_t>(bytes)));
    part.packed.panels = part.memory.data();
    cpu::pack_matrix(tensor.type, tensor.bytes.data(), tensor.rows, matrix.k, part.packed.type,
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
  PARKD_RETURN_IF_ERROR(check_vector(vector));
  const int64_t n = vector.rows * vector.columns;
  std::vector<float> values(static_cast<size_t>(n));
  dequantise(vector.type, vector.bytes.data(), n, values.data());
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
