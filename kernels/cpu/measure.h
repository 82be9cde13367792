// Measures the kernels: what a machine's dot instruction can do and what the products make of it.
// For kernels_bench and parkd_bench; one thread.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/cpu/cpu_kernels.h"

namespace parkd::cpu {

struct Measured {
  double best_s = 0;  // of one run; the least of the repeats, the machine being shared
  double median_s = 0;
  double gop_per_s = 0;  // multiplications and additions, of the best run
  double gb_per_s = 0;   // weight bytes read, of the best run
};

// The integer dot instruction in a loop without memory: the ceiling of the quantised products.
double measure_dot_peak_gop_per_s(Isa isa);

// Reading memory that no cache holds.
double measure_read_gb_per_s();

// Rows (m, k) times a weight (n, k) of random codes. Weights come from memory, not from the cache:
// the runs walk over copies of `cold_bytes` in all. Quantising the rows is part of the time.
Measured measure_matmul(Isa isa, PanelType type, int64_t m, int64_t k, int64_t n,
                        int64_t cold_bytes);

struct AttentionShape {
  int32_t n_sequences;
  int32_t n_queries;  // of each: 1 is decode
  int32_t context_tokens;
  int32_t n_heads;
  int32_t n_kv_heads;
  int32_t head_dim;
  int32_t block_size;
  int32_t window;  // 0: none
};

// One layer's attention on bf16 KV; gb_per_s counts KV bytes.
Measured measure_attention(Isa isa, const AttentionShape& shape);

// Rows of `columns` floats; gb_per_s counts what is read and written.
// `adds`: rms_norm_add.
Measured measure_rms_norm(Isa isa, bool adds, int64_t rows, int64_t columns);
Measured measure_gate_mul(Isa isa, Gate activation, int64_t rows, int64_t columns);
Measured measure_rope(Isa isa, int64_t rows, int64_t n_heads, int64_t head_dim);

}  // namespace parkd::cpu
