// The CPU's kernels: plain functions on plain memory, in three instruction sets chosen at run time.
// They know nothing of lib/. A CpuKernels table is immutable and may be used from any thread; no
// kernel allocates, locks or keeps state; workspaces come from the caller.
//
// Arithmetic. A row's result never depends on how many rows stand beside it: every output element
// is one chain over K (or over KV tiles in order of position), whatever the register tile. All
// float kernels work on 16 lanes with a fixed reduction tree and explicit fused multiply-adds, so
// scalar, avx2 and avx512 agree bit for bit; only the bf16 dot products of avx512 (VDPBF16PS rounds
// in its own way) differ from the other two.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/common/tensor_type.h"

namespace parkd::cpu {

enum class Isa { scalar, avx2, avx512 };

const char* to_string(Isa isa);
bool isa_available(Isa isa);
Isa detect_isa();  // the best one that this machine has

inline constexpr int kPanelColumns = 16;  // output columns of a weight panel
inline constexpr int kBlock = 32;         // elements of a quantisation block
inline constexpr int kKvTile = 32;        // tokens of a KV tile
inline constexpr int kHeadDimMax = 256;   // and head_dim is a multiple of 16

// A weight matrix (n_outputs, k) is kept as panels of 16 outputs, the last padded with zeros:
//   f32:       (k, 16 outputs)
//   bf16:      (k / 2, 16 outputs, 2), odd k padded
//   quantised: packed_form.h
using PanelType = TensorType;  // f32, bf16 or a quantised one

struct PackedMatrix {
  PanelType type = PanelType::f32;
  int64_t n_outputs = 0;
  int64_t k = 0;
  const uint8_t* panels = nullptr;  // 64-byte aligned
};

// Always inlined: an out-of-line copy made in one instruction set's file could serve the others.
[[gnu::always_inline]] inline int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}
[[gnu::always_inline]] inline int64_t panel_count(int64_t n_outputs) {
  return ceil_div(n_outputs, kPanelColumns);
}
int64_t panel_bytes(PanelType type, int64_t k);

// Elements from row to row of a float matrix: a multiple of 32, and never of 4096 bytes, where all
// rows of a register tile would fall into the same cache set (a head of 49152 outputs lost half its
// speed to that).
[[gnu::always_inline]] inline int64_t row_stride(int64_t n_columns) {
  const int64_t stride = ceil_div(n_columns, kBlock) * kBlock;
  return stride % 512 == 0 ? stride + kBlock : stride;
}

// One 32-block of a row quantised to int8: value = scale * code, scale = amax / 127. Sums of codes
// are of the whole block, of its first and of its second half; offsets and minima multiply them.
struct ActivationBlock {
  float scale;
  float scaled_sums[3];   // scale * sum
  int32_t minus_sums[3];  // -sum
};

// Rows of activations in the forms that panels read; strides in elements.
struct ActivationRows {
  const float* f32 = nullptr;
  int64_t f32_stride = 0;
  const uint16_t* bf16 = nullptr;  // even stride, padded with zero to an even k
  int64_t bf16_stride = 0;
  const int8_t* q8 = nullptr;
  int64_t q8_stride = 0;  // multiple of 32
  const ActivationBlock* blocks = nullptr;
  int64_t blocks_stride = 0;
};

// out[row][column] (= or +=) sum over k of in[row][k] * weight[column][k], for rows [0, n_rows) and
// the columns of panels [first_panel, last_panel).
struct MatmulArgs {
  PackedMatrix weight;
  ActivationRows in;
  int64_t n_rows = 0;
  int64_t first_panel = 0;
  int64_t last_panel = 0;
  float* out = nullptr;
  int64_t out_stride = 0;
  bool add = false;
};

// KV memory of one (layer, block, kv head) is K then V elsewhere, each (block_size / 32 tiles).
//   f32, f16: K tile (head_dim, 32 tokens), V tile (32 tokens, head_dim)
//   bf16:     K tile (head_dim / 2, 32 tokens, 2), V tile (16, head_dim, 2 tokens)
enum class KvType { f32, f16, bf16 };

[[gnu::always_inline]] inline int kv_element_bytes(KvType type) {
  return type == KvType::f32 ? 4 : 2;
}

// Where the KV of one (layer, kv head) of a sequence lies.
struct KvView {
  KvType type = KvType::f32;
  uint8_t* k = nullptr;  // of block 0
  uint8_t* v = nullptr;
  int64_t block_stride_bytes = 0;
  const int32_t* block_table = nullptr;
  int32_t block_size = 0;
  int32_t head_dim = 0;
};

// Causal attention of `n_queries` consecutive tokens, `group` query heads each, over one kv head.
// Query i (position first_position + i) has its heads at q + i * q_stride + g * head_dim.
struct AttentionArgs {
  KvView kv;
  const float* q = nullptr;
  int64_t q_stride = 0;
  float* out = nullptr;  // laid out as q
  int64_t out_stride = 0;
  int32_t n_queries = 0;
  int32_t group = 0;
  int32_t first_position = 0;
  int32_t window = 0;  // a query sees the last so many tokens, its own included; 0: all
  float scale = 0;
  void* workspace = nullptr;  // attention_workspace_bytes(), 64-byte aligned
};

inline constexpr int kAttentionRowsMax = 48;  // n_queries * group of one call, unless n_queries = 1
// Upper bound for `group` query heads a kv head.
size_t attention_workspace_bytes(int32_t group, int32_t head_dim);

// lib/model/shape.h's Activation.
enum class Gate { silu, gelu_tanh };

struct CpuKernels {
  Isa isa;

  void (*matmul)(const MatmulArgs& args);

  // Row -> the forms above. q8 and blocks: k is a multiple of 32.
  void (*quantise_row)(const float* in, int64_t k, int8_t* q8, ActivationBlock* blocks);
  void (*to_bf16)(const float* in, int64_t n, uint16_t* out);

  // out = in / sqrt(mean(in^2) + eps) * weight; out may be in
  void (*rms_norm)(const float* in, const float* weight, int64_t n, float eps, float* out);
  // sum += the same; sum is not in
  void (*rms_norm_add)(const float* in, const float* weight, int64_t n, float eps, float* sum);
  // out = activation(gate) * up
  void (*gate_mul)(Gate activation, const float* gate, const float* up, int64_t n, float* out);

  // Rotates `n_heads` heads in place. cos_sin: (head_dim / 2, 2). interleaved: pairs (2i, 2i + 1),
  // otherwise (i, i + head_dim / 2).
  void (*rope)(float* heads, int64_t n_heads, int64_t head_dim, const float* cos_sin,
               bool interleaved);

  // Zeroes V of the tile that holds `position`: before the first store_kv into it, or a former
  // owner's NaN would meet a probability of 0.
  void (*clear_values)(const KvView& kv, int64_t position);
  // Writes one token's k and v (head_dim each) at `position`.
  void (*store_kv)(const KvView& kv, int64_t position, const float* k, const float* v);
  void (*attention)(const AttentionArgs& args);

  // For benchmarks: `rounds` times 16 independent integer dots at full speed; returns the number of
  // multiplications and additions.
  int64_t (*run_dots)(int64_t rounds);
};

// The table of `isa`; requires isa_available(isa).
const CpuKernels& kernels_of(Isa isa);

}  // namespace parkd::cpu
