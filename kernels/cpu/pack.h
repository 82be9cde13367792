// From GGUF's rows to panels and back: run once at load (and for each embedding lookup). Plain C++,
// any thread, never allocates.
#pragma once

#include <cstdint>

#include "kernels/cpu/cpu_kernels.h"

namespace parkd::cpu {

// Element types of a GGUF tensor; layouts as in ggml-common.h (little-endian).
//   q4_0: f16 d, 16 bytes: w = d * (code - 8)     q4_1: f16 d, f16 m, 16 bytes: w = d * code + m
//   q8_0: f16 d, 32 int8: w = d * code
// Low nibbles are elements 0..15 of a block, high nibbles 16..31.
enum class SourceType { f32, f16, bf16, q4_0, q4_1, q8_0 };

// Bytes of a row of `k` elements; a quantised type needs k to be a multiple of 32.
int64_t source_row_bytes(SourceType type, int64_t k);

// `row` as floats, exactly the formulas above rounded to float.
void dequantise_source_row(SourceType type, const uint8_t* row, int64_t k, float* out);

// Packs rows (n_outputs, k) into panel_count(n_outputs) * panel_bytes(to, k) bytes at `panels`,
// which are zero. `to` is f32, bf16 (rounded), or the source's own quantised type.
void pack_matrix(SourceType from, const uint8_t* rows, int64_t n_outputs, int64_t k, PanelType to,
                 uint8_t* panels);

// Row `output` of a packed matrix as floats (k).
void unpack_row(const PackedMatrix& matrix, int64_t output, float* out);

}  // namespace parkd::cpu
