// Dtype: the type of activations and KV cache, a word that configuration and engine share.
#pragma once

namespace parkd {

// f32 is the float path the goldens are checked on; bf16 and f16 are the fast path, whose products
// use integer or bf16 dot instructions.
enum class Dtype { f32, f16, bf16 };

inline int dtype_bytes(Dtype dtype) {
  return dtype == Dtype::f32 ? 4 : 2;
}

}  // namespace parkd
