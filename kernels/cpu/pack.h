// From GGUF's rows to panels and back: run once at load (and for each embedding lookup). Plain C++,
// any thread, never allocates.
#pragma once

#include <cstdint>

#include "kernels/common/tensor_type.h"
#include "kernels/cpu/cpu_kernels.h"

namespace parkd::cpu {

// Bytes of a tensor's row of `k` elements; a quantised type needs whole blocks
// (kernels/common/block_formats.h).
int64_t source_row_bytes(TensorType type, int64_t k);

// What a type is packed as for fast products: a quantised one as itself, a plain one as bf16.
PanelType packed_type(TensorType type);

// Packs rows (n_outputs, k) into panel_count(n_outputs) * panel_bytes(to, k) bytes at `panels`,
// which are zero. `to` is f32, bf16 (rounded), or the source's packed_type().
void pack_matrix(TensorType from, const uint8_t* rows, int64_t n_outputs, int64_t k, PanelType to,
                 uint8_t* panels);

// Row `output` of a packed matrix as floats (k).
void unpack_row(const PackedMatrix& matrix, int64_t output, float* out);

}  // namespace parkd::cpu
