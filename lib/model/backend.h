// Backend: one model's weights and KV memory on one device.
//
// Made and filled by one thread, then immutable but for the KV memory that its lanes (lane.h)
// write, and shared by them.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "lib/base/dtype.h"
#include "lib/base/status.h"
#include "lib/model/lane.h"
#include "lib/model/shape.h"
#include "lib/weights/tensor.h"

namespace parkd {

class Backend {
 public:
  virtual ~Backend() = default;

  // A weight made of `parts` stacked by rows (q, k, v or gate, up become one product); all parts
  // have the same number of columns. Copies or repacks: the views may be unmapped afterwards.
  virtual Result<MatrixId> load_matrix(std::span<const TensorView> parts) = 0;
  virtual Result<VectorId> load_vector(const TensorView& vector) = 0;

  // KV memory for `n_blocks` blocks of `block_size` tokens, all layers, before any step. Again, in
  // the place of what there was, as long as no lane is prepared.
  virtual Status allocate_kv(int64_t n_blocks, int32_t block_size) = 0;
  // The same, for as many blocks as the device has room for beside all that is there now and what
  // it holds back, `n_blocks_max` at most; their number. Errors: exhausted, if that is none.
  virtual Result<int64_t> fit_kv(int64_t n_blocks_max, int32_t block_size) = 0;

  // Errors: exhausted, internal or unavailable where a lane needs something of its device.
  virtual Result<std::unique_ptr<Lane>> make_lane() = 0;

  virtual std::string describe() const = 0;  // "cpu avx512 bf16", for logs and results
  virtual int64_t weight_bytes() const = 0;
  virtual int64_t kv_bytes()
      const = 0;  // of address space; on a CPU pages come as they are written
};

}  // namespace parkd
