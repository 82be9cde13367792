// What the attention kernels share: a softmax's step, the output's store, the launchers' checks.
#pragma once

#include <cstdint>

#include "kernels/cuda/device.h"
#include "kernels/cuda/launch.h"

namespace parkd::cuda {

inline constexpr int32_t kAttentionGroupMax = 16;  // query heads a kv head
inline constexpr int32_t kGridYMax = 65535;
inline constexpr int32_t kSplitsMax = 64;  // of a sequence or a tile

// What kernels get: a window is always a number of tokens, which they read where it lies.
inline AttentionParams with_window(AttentionParams params) {
  if (params.window == 0) params.window = INT32_MAX;
  return params;
}

// The first token that a row at `position` sees.
__device__ __forceinline__ int32_t first_seen(const AttentionParams& params, int32_t position) {
  const int32_t hidden = position + 1 - params.window;
  return hidden > 0 ? hidden : 0;
}

// 2^(from - to), and 0 for a `from` of minus infinity, also when `to` is that as well.
__device__ __forceinline__ float rescale(float from, float to) {
  return from == -INFINITY ? 0.0F : exp2f(from - to);
}

// out[index] of any element type; the branch is the same for the whole launch.
__device__ __forceinline__ void store_element(void* out, Element element, int64_t index,
                                              float value) {
  if (element == Element::f32) {
    static_cast<float*>(out)[index] = value;
  } else if (element == Element::f16) {
    static_cast<__half*>(out)[index] = from_float<__half>(value);
  } else {
    static_cast<__nv_bfloat16*>(out)[index] = from_float<__nv_bfloat16>(value);
  }
}

// Splits of what makes so many blocks without: as many as fill a device that holds `n_resident` of
// them, and no more than `useful`.
inline int32_t filling_splits(int64_t one_split_blocks, int64_t useful, int32_t n_resident) {
  if (one_split_blocks <= 0) return 1;
  const int64_t filling = n_resident / one_split_blocks;
  const int64_t splits = filling < useful ? filling : useful;
  return static_cast<int32_t>(splits < 1 ? 1 : splits < kSplitsMax ? splits : kSplitsMax);
}

inline bool attention_params_are_valid(const AttentionParams& params) {
  const KvMemory& kv = params.kv;
  return kv.n_kv_heads > 0 && params.n_heads > 0 && params.n_heads % kv.n_kv_heads == 0 &&
         attention_supports(kv.head_dim, params.n_heads / kv.n_kv_heads) && kv.block_size > 0 &&
         kv.block_size % 8 == 0 && kv.block_size <= 1024 && params.window >= 0 &&
         params.layer >= 0 && params.layer < kv.n_layers && is_aligned(kv.base) &&
         is_aligned(params.qkv) && is_aligned(params.out);
}

}  // namespace parkd::cuda
