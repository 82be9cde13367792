// CudaWeights: a model's matrices and vectors in device memory, and its KV blocks. Filled by one
// thread, then shared by the lanes; only KV contents change afterwards, each lane its own blocks.
//
// Matrices are dequantised on the device to the type the products read (bf16, f16 or f32), so a
// weight takes 2 bytes (4 for f32) whatever the file's type: products go through cuBLAS at full
// speed, and memory for 3-4 times the file's size is the price. Tensors are copied in pieces
// through two pinned buffers that take turns.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/cuda/kernels.h"
#include "lib/backend/cuda/cuda_handles.h"
#include "lib/base/dtype.h"
#include "lib/model/backend.h"

namespace parkd::cuda {

Element element_of(Dtype dtype);

// Parts stacked by rows: (n_outputs, k), columns contiguous.
struct CudaMatrix {
  DeviceBuffer memory;
  int64_t n_outputs = 0;
  int64_t k = 0;
};

class CudaWeights {
 public:
  // `stream` outlives it.
  static Result<CudaWeights> make(Dtype dtype, const Stream& stream);

  // Both return once the tensor has been read; the device has it after finish_loading(). Errors:
  // invalid (the tensor), exhausted (device memory), unavailable, of an earlier tensor perhaps.
  Result<MatrixId> load_matrix(std::span<const TensorView> parts);
  Result<VectorId> load_vector(const TensorView& vector);
  // In the place of what there was; nothing on the device uses that.
  Status allocate_kv(const ModelShape& shape, int64_t n_blocks, int32_t block_size);
  void free_kv();
  // Waits until the device has every tensor, and frees what only loading needs.
  Status finish_loading();

  const CudaMatrix& matrix(MatrixId id) const { return matrices_[static_cast<size_t>(id.index)]; }
  const float* vector(VectorId id) const {
    return vectors_[static_cast<size_t>(id.index)].as<float>();
  }
  const KvMemory& kv() const { return kv_; }
  Element element() const { return element_; }
  int64_t weight_bytes() const { return weight_bytes_; }
  int64_t kv_bytes() const { return static_cast<int64_t>(kv_memory_.bytes()); }

 private:
  // A piece of a tensor on its way: pinned, and where it lands on the device.
  struct Staging {
    PinnedBuffer host;
    DeviceBuffer device;
    Event done;  // the last piece that went through was dequantised
  };

  Status copy_rows(const TensorView& tensor, uint8_t* to, Element element);

  const Stream* stream_ = nullptr;
  Element element_ = Element::bf16;
  std::vector<Staging> staging_;
  size_t next_staging_ = 0;
  std::vector<CudaMatrix> matrices_;
  std::vector<DeviceBuffer> vectors_;
  int64_t weight_bytes_ = 0;
  DeviceBuffer kv_memory_;
  KvMemory kv_ = {};
};

}  // namespace parkd::cuda
