// Paged causal attention, one kv head at a time, prefill and decode alike. Included after one
// simd_*.h.
//
// Online softmax (Milakov and Gimelshein 2018; FlashAttention's inner loop) over tiles of 32 tokens
// at absolute positions, always from position 0 upwards: m, l and o of a row pass through the same
// operations however the queries are cut into calls; of a windowed row, those from the tile where
// its window begins. The query heads that share a kv head are rows beside each other, so a K or V
// tile is read once for all of them. Tokens after a row's own have probability exactly 0; their K
// may be anything, their V is finite (clear_values clears a tile that begins).
#pragma once

#include "kernels/cpu/cpu_kernels.h"

namespace parkd::cpu {
namespace {

// How K, V, queries and probabilities are stored and multiplied. A step consumes kStep dims of K
// (or tokens of V).
struct KvF32 {
  using Element = float;
  using Operand = F32x16;
  using Factor = float;
  static constexpr int kStep = 1;
  static Operand load_operand(const Element* p) { return load(p); }
  static F32x16 dot(F32x16 sum, Operand a, Factor f) { return fma(a, broadcast(f), sum); }
  static Element to_element(float x) { return x; }
  // 16 queries or probabilities, and what they are after rounding.
  static F32x16 put_factors(F32x16 x, Factor* out) {
    store(out, x);
    return x;
  }
};

struct KvF16 {
  using Element = uint16_t;
  using Operand = F32x16;
  using Factor = float;
  static constexpr int kStep = 1;
  static Operand load_operand(const Element* p) { return load_f16(p); }
  static F32x16 dot(F32x16 sum, Operand a, Factor f) { return fma(a, broadcast(f), sum); }
  static Element to_element(float x) { return float_to_f16(x); }
  static F32x16 put_factors(F32x16 x, Factor* out) { return KvF32::put_factors(x, out); }
};

struct KvBf16 {
  using Element = uint16_t;
  using Operand = Bf16x32;
  using Factor = uint32_t;  // two bf16
  static constexpr int kStep = 2;
  static Operand load_operand(const Element* p) { return load_pairs(p); }
  static F32x16 dot(F32x16 sum, Operand a, Factor f) { return dot_pair(sum, a, f); }
  static Element to_element(float x) { return float_to_bf16(x); }
  static F32x16 put_factors(F32x16 x, Factor* out) {
    auto* halves = reinterpret_cast<uint16_t*>(out);
    store_bf16(halves, x);
    return load_bf16(halves);
  }
};

inline int64_t head_block_bytes(const KvView& kv) {
  return int64_t{kv.block_size} * kv.head_dim * kv_element_bytes(kv.type);
}

// Bytes from block 0's K (or V) of this head to the tile that holds `position`.
inline int64_t tile_offset(const KvView& kv, int64_t position) {
  const int64_t block = kv.block_table[position / kv.block_size];
  const int64_t tile = position % kv.block_size / kKvTile;
  return block * kv.block_stride_bytes + tile * kKvTile * kv.head_dim * kv_element_bytes(kv.type);
}

template <class Kv>
void store_kv_as(const KvView& kv, int64_t position, const float* k, const float* v) {
  using Element = typename Kv::Element;
  constexpr int kStep = Kv::kStep;
  const int64_t offset = tile_offset(kv, position);
  auto* k_tile = reinterpret_cast<Element*>(kv.k + offset);
  auto* v_tile = reinterpret_cast<Element*>(kv.v + offset);
  const auto token = static_cast<int>(position % kKvTile);
  for (int d = 0; d < kv.head_dim; ++d) {
    k_tile[(d / kStep * kKvTile + token) * kStep + d % kStep] = Kv::to_element(k[d]);
    v_tile[(token / kStep * kv.head_dim + d) * kStep + token % kStep] = Kv::to_element(v[d]);
  }
}

void clear_values(const KvView& kv, int64_t position) {
  const int64_t bytes = int64_t{kKvTile} * kv.head_dim * kv_element_bytes(kv.type);
  __builtin_memset(kv.v + tile_offset(kv, position), 0, static_cast<size_t>(bytes));
}

void store_kv(const KvView& kv, int64_t position, const float* k, const float* v) {
  switch (kv.type) {
    case KvType::f32:
      return store_kv_as<KvF32>(kv, position, k, v);
    case KvType::f16:
      return store_kv_as<KvF16>(kv, position, k, v);
    case KvType::bf16:
      return store_kv_as<KvBf16>(kv, position, k, v);
  }
}

// A call's rows (query, head) and their running state, all in the workspace.
template <class Kv>
struct AttentionRows {
  typename Kv::Factor* q;  // (rows, head_dim / kStep), scaled
  float* o;                // (rows, head_dim)
  float* m;                // (rows) maximum so far
  float* l;                // (rows) sum of probabilities so far
  typename Kv::Factor* p;  // (rows, 32 / kStep) probabilities of this tile
  float* correction;       // (rows)
};

inline int64_t rounded_rows(int64_t rows) {
  return ceil_div(rows, 16) * 16;
}

template <class Kv>
AttentionRows<Kv> carve(void* workspace, int64_t n, int64_t head_dim) {
  auto* at = static_cast<float*>(workspace);
  const int64_t rows = rounded_rows(n);
  AttentionRows<Kv> result;
  result.q = reinterpret_cast<typename Kv::Factor*>(at);
  result.o = at + rows * head_dim;
  result.p = reinterpret_cast<typename Kv::Factor*>(at + 2 * rows * head_dim);
  result.m = at + 2 * rows * head_dim + rows * kKvTile;
  result.l = result.m + rows;
  result.correction = result.l + rows;
  return result;
}

// Scores of one tile for n_tile rows, then their probabilities, maxima, sums and corrections.
template <class Kv, int n_tile>
inline void score_rows(const AttentionArgs& args, const AttentionRows<Kv>& rows, int first_row,
                       const typename Kv::Element* k_tile, int64_t tile_start) {
  constexpr int kStep = Kv::kStep;
  const int steps = args.kv.head_dim / kStep;
  F32x16 score[n_tile][2];
#pragma GCC unroll 8
  for (int m = 0; m < n_tile; ++m) score[m][0] = score[m][1] = broadcast(0.0F);
  for (int s = 0; s < steps; ++s) {
    const auto k0 = Kv::load_operand(k_tile + s * kKvTile * kStep);
    const auto k1 = Kv::load_operand(k_tile + (s * kKvTile + 16) * kStep);
#pragma GCC unroll 8
    for (int m = 0; m < n_tile; ++m) {
      const auto q = rows.q[int64_t{first_row + m} * steps + s];
      score[m][0] = Kv::dot(score[m][0], k0, q);
      score[m][1] = Kv::dot(score[m][1], k1, q);
    }
  }
  constexpr float kMinusInfinity = -__builtin_inff();
#pragma GCC unroll 8
  for (int m = 0; m < n_tile; ++m) {
    const int row = first_row + m;
    const int64_t position = args.first_position + row / args.group;
    const int64_t seen = position + 1 - tile_start;  // tokens of this tile that the row sees
    const int n = seen < kKvTile ? static_cast<int>(seen) : kKvTile;
    F32x16 s0 = keep_first(score[m][0], n, kMinusInfinity);
    F32x16 s1 = keep_first(score[m][1], n - 16, kMinusInfinity);
    // Tokens of this tile before the row's window.
    const int64_t before_window = args.window > 0 ? position + 1 - args.window - tile_start : 0;
    const int n_hidden = before_window > 0 ? static_cast<int>(before_window) : 0;
    if (n_hidden > 0) {
      s0 = drop_first(s0, n_hidden, kMinusInfinity);
      s1 = drop_first(s1, n_hidden - 16, kMinusInfinity);
    }
    const float tile_max = max_lanes(maximum(s0, s1));
    const float before = rows.m[row];
    const float now = tile_max > before ? tile_max : before;
    F32x16 p0 = keep_first(exponential(subtract(s0, broadcast(now))), n, 0.0F);
    F32x16 p1 = keep_first(exponential(subtract(s1, broadcast(now))), n - 16, 0.0F);
    if (n_hidden > 0) {
      p0 = drop_first(p0, n_hidden, 0.0F);
      p1 = drop_first(p1, n_hidden - 16, 0.0F);
    }
    // The sum takes the probabilities as V will see them, so that they add up to one.
    auto* p = rows.p + int64_t{row} * (kKvTile / kStep);
    const F32x16 sum = add(Kv::put_factors(p0, p), Kv::put_factors(p1, p + 16 / kStep));
    const float correction = first_lane(exponential(broadcast(before - now)));
    rows.m[row] = now;
    rows.correction[row] = correction;
    rows.l[row] = rows.l[row] * correction + sum_lanes(sum);
  }
}

// o = o * correction + p * V for n_tile rows and 16 * n_columns dims from `dim`.
template <class Kv, int n_tile, int n_columns>
inline void value_rows(const AttentionRows<Kv>& rows, int64_t head_dim, int first_row, int64_t dim,
                       const typename Kv::Element* v_tile) {
  constexpr int kStep = Kv::kStep;
  constexpr int kSteps = kKvTile / kStep;
  F32x16 sum[n_tile][n_columns];
#pragma GCC unroll 8
  for (int m = 0; m < n_tile; ++m) {
    const F32x16 correction = broadcast(rows.correction[first_row + m]);
#pragma GCC unroll 4
    for (int c = 0; c < n_columns; ++c) {
      sum[m][c] =
          multiply(load(rows.o + int64_t{first_row + m} * head_dim + dim + c * 16), correction);
    }
  }
  for (int s = 0; s < kSteps; ++s) {
    typename Kv::Operand v[n_columns];
#pragma GCC unroll 4
    for (int c = 0; c < n_columns; ++c) {
      v[c] = Kv::load_operand(v_tile + (s * head_dim + dim + c * 16) * kStep);
    }
#pragma GCC unroll 8
    for (int m = 0; m < n_tile; ++m) {
      const auto p = rows.p[int64_t{first_row + m} * kSteps + s];
#pragma GCC unroll 4
      for (int c = 0; c < n_columns; ++c) sum[m][c] = Kv::dot(sum[m][c], v[c], p);
    }
  }
#pragma GCC unroll 8
  for (int m = 0; m < n_tile; ++m) {
#pragma GCC unroll 4
    for (int c = 0; c < n_columns; ++c) {
      store(rows.o + int64_t{first_row + m} * head_dim + dim + c * 16, sum[m][c]);
    }
  }
}

template <class Kv, int n_tile>
inline void attend_rows(const AttentionArgs& args, const AttentionRows<Kv>& rows, int first_row,
                        int64_t tile_start) {
  using Element = typename Kv::Element;
  const int64_t offset = tile_offset(args.kv, tile_start);
  score_rows<Kv, n_tile>(args, rows, first_row,
                         reinterpret_cast<const Element*>(args.kv.k + offset), tile_start);
  const auto* v_tile = reinterpret_cast<const Element*>(args.kv.v + offset);
  const int64_t head_dim = args.kv.head_dim;
  int64_t dim = 0;
  for (; dim + 64 <= head_dim; dim += 64) {
    value_rows<Kv, n_tile, 4>(rows, head_dim, first_row, dim, v_tile);
  }
  for (; dim < head_dim; dim += 16) {
    value_rows<Kv, n_tile, 1>(rows, head_dim, first_row, dim, v_tile);
  }
}

template <class Kv>
void attention_as(const AttentionArgs& args) {
  const int n_rows = args.n_queries * args.group;
  const int64_t head_dim = args.kv.head_dim;
  const AttentionRows<Kv> rows = carve<Kv>(args.workspace, n_rows, head_dim);
  for (int row = 0; row < n_rows; ++row) {
    const float* q = args.q + row / args.group * args.q_stride + row % args.group * head_dim;
    for (int64_t d = 0; d < head_dim; d += 16) {
      Kv::put_factors(multiply(load(q + d), broadcast(args.scale)),
                      rows.q + (row * head_dim + d) / Kv::kStep);
    }
    __builtin_memset(rows.o + row * head_dim, 0, static_cast<size_t>(head_dim) * sizeof(float));
    rows.m[row] = -__builtin_inff();
    rows.l[row] = 0;
  }
  const int64_t last_position = args.first_position + args.n_queries - 1;
  const int64_t first_seen = args.window > 0 ? args.first_position + int64_t{1} - args.window : 0;
  const int64_t first_tile = first_seen > 0 ? first_seen / kKvTile * kKvTile : 0;
  for (int64_t start = first_tile; start <= last_position; start += kKvTile) {
    // Rows of queries before this tile have seen all they may; windows of others begin behind it.
    const int64_t done = start > args.first_position ? start - args.first_position : 0;
    const int64_t begun = start + kKvTile - 1 + args.window - args.first_position;
    const int last_row = args.window > 0 && begun * args.group < n_rows
                             ? static_cast<int>(begun) * args.group
                             : n_rows;
    int row = static_cast<int>(done) * args.group;
    for (; row + 6 <= last_row; row += 6) attend_rows<Kv, 6>(args, rows, row, start);
    for (; row + 3 <= last_row; row += 3) attend_rows<Kv, 3>(args, rows, row, start);
    for (; row < last_row; ++row) attend_rows<Kv, 1>(args, rows, row, start);
  }
  for (int row = 0; row < n_rows; ++row) {
    float* out = args.out + row / args.group * args.out_stride + row % args.group * head_dim;
    const float* o = rows.o + row * head_dim;
    const float inverse = 1.0F / rows.l[row];
    for (int64_t d = 0; d < head_dim; ++d) out[d] = o[d] * inverse;
  }
}

void attention(const AttentionArgs& args) {
  switch (args.kv.type) {
    case KvType::f32:
      return attention_as<KvF32>(args);
    case KvType::f16:
      return attention_as<KvF16>(args);
    case KvType::bf16:
      return attention_as<KvBf16>(args);
  }
}

}  // namespace
}  // namespace parkd::cpu
