// CpuWeights: a model's matrices and vectors as the kernels want them, and its KV memory. Filled by
// one thread, then shared by the lanes; only KV contents change afterwards, each lane its own
// blocks.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/cpu/cpu_kernels.h"
#include "lib/backend/cpu/mapped_memory.h"
#include "lib/base/dtype.h"
#include "lib/model/backend.h"

namespace parkd {

// Parts stacked by rows; each may have its own type. Column numbers are the product's.
struct CpuMatrix {
  struct Part {
    cpu::PackedMatrix packed;
    int64_t first_column = 0;
    int64_t first_panel = 0;  // counted over all parts
    MappedMemory memory;
  };

  int64_t n_columns = 0;  // of the product: all parts' rows
  int64_t k = 0;
  int64_t n_panels = 0;
  bool reads_q8 = false;  // some part wants quantised activations
  bool reads_bf16 = false;
  std::vector<Part> parts;
};

class CpuWeights {
 public:
  explicit CpuWeights(Dtype dtype) : dtype_(dtype) {}

  // Bytes that a tensor takes as a matrix, or a part of one.
  static int64_t packed_bytes(const TensorView& tensor, Dtype dtype);
  Result<MatrixId> load_matrix(std::span<const TensorView> parts);
  Result<VectorId> load_vector(const TensorView& vector);
  Status allocate_kv(const ModelShape& shape, int64_t n_blocks, int32_t block_size);

  const CpuMatrix& matrix(MatrixId id) const { return matrices_[static_cast<size_t>(id.index)]; }
  std::span<const float> vector(VectorId id) const {
    return vectors_[static_cast<size_t>(id.index)];
  }
  // KV of one layer and kv head; the caller sets block_table.
  cpu::KvView kv_view(int32_t layer, int32_t kv_head) const;

  int32_t block_size() const { return block_size_; }
  int64_t weight_bytes() const { return weight_bytes_; }
  int64_t kv_bytes() const { return static_cast<int64_t>(kv_.bytes()); }

 private:
  const Dtype dtype_;
  std::vector<CpuMatrix> matrices_;
  std::vector<std::vector<float>> vectors_;
  int64_t weight_bytes_ = 0;

  // (n_layers, n_blocks, K or V, n_kv_heads, block)
  MappedMemory kv_;
  int32_t block_size_ = 0;
  int32_t head_dim_ = 0;
  int64_t head_block_bytes_ = 0;  // K (or V) of one head in one block
  int64_t block_bytes_ = 0;       // K and V of all heads
  int64_t layer_bytes_ = 0;
};

}  // namespace parkd
