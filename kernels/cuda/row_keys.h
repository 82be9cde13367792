// Logits and weights as integers that sort like them, and the selection of the greatest: what
// sampling and log-probabilities share.
#pragma once

#include "kernels/cuda/device.h"

namespace parkd::cuda {

// A float that is not a NaN as an integer of the same order; -0 and +0 are equal.
inline constexpr uint32_t kKeyOfMinusInfinity = 0x007FFFFFU;
inline constexpr uint32_t kKeyOfBad = 0xFFFFFFFFU;  // NaN or +inf: the row cannot be sampled

__device__ __forceinline__ uint32_t key_of_logit(float logit) {
  const uint32_t bits = __float_as_uint(__fadd_rn(logit, 0.0F));
  if ((bits & 0x7FFFFFFFU) >= 0x7F800000U && bits != 0xFF800000U) return kKeyOfBad;
  return (bits & 0x80000000U) != 0 ? ~bits : bits | 0x80000000U;
}

__device__ __forceinline__ float logit_of_key(uint32_t key) {
  return __uint_as_float((key & 0x80000000U) != 0 ? key & 0x7FFFFFFFU : ~key);
}

// (key, id) in one integer: greater is better, and of equal keys the lowest id is best.
__device__ __forceinline__ uint64_t ranked(uint32_t key, int32_t id) {
  return uint64_t{key} << 32 | static_cast<uint32_t>(~id);
}

// The greatest of `value` over the block, in every thread. `shared` has a word a warp.
template <int kThreads>
__device__ __forceinline__ uint32_t block_max(uint32_t value, uint32_t* shared) {
  value = __reduce_max_sync(kFullWarp, value);
  if (threadIdx.x % kWarpSize == 0) shared[threadIdx.x / kWarpSize] = value;
  __syncthreads();
#pragma unroll
  for (int i = 0; i < kThreads / kWarpSize; ++i) {
    value = shared[i] > value ? shared[i] : value;
  }
  __syncthreads();  // so that `shared` can be used again
  return value;
}

// Radix selection by digits of 8 bits. Masses have 64 bits, which shared memory adds up only by
// comparing and swapping: so the halves are added apart, and a carry goes from the low to the high.
inline constexpr int kDigits = 256;
struct SelectMemory {
  uint32_t low[kDigits];   // of the mass by digit, of the keys that begin with the digits before
  uint32_t high[kDigits];  // of it, carries included
  uint64_t target;         // what they must add
  uint32_t digit;          // the one in which their running sum reaches it
  bool needs_all;          // every key of that digit
  bool needs_everything;   // every key there is

  __device__ __forceinline__ uint64_t mass(int32_t of_digit) const {
    return uint64_t{high[of_digit]} << 32 | low[of_digit];
  }
  __device__ __forceinline__ void add(uint32_t to_digit, uint64_t more) {
    const auto more_low = static_cast<uint32_t>(more);
    const uint32_t before = atomicAdd(&low[to_digit], more_low);
    const uint32_t more_high = static_cast<uint32_t>(more >> 32) + (before + more_low < before);
    if (more_high != 0) atomicAdd(&high[to_digit], more_high);
  }
};

// Running sum over the warp's lanes, the lane's own included.
__device__ __forceinline__ uint64_t running_sum(uint64_t value) {
  const auto lane = static_cast<int32_t>(threadIdx.x % kWarpSize);
#pragma unroll
  for (int offset = 1; offset < kWarpSize; offset *= 2) {
    const uint64_t other = __shfl_up_sync(kFullWarp, value, static_cast<unsigned>(offset));
    if (lane >= offset) value += other;
  }
  return value;
}

// Chooses shared.digit, greatest digits first. For one warp.
template <class TargetOf>
__device__ __forceinline__ void find_digit(bool is_first, const TargetOf& target_of,
                                           SelectMemory& shared) {
  constexpr int kPerLane = kDigits / kWarpSize;
  const auto lane = static_cast<int32_t>(threadIdx.x % kWarpSize);
  const int32_t first = kDigits - 1 - lane * kPerLane;  // downwards
  uint64_t mine = 0;
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) mine += shared.mass(first - i);
  const uint64_t sum = running_sum(mine);
  const uint64_t total = __shfl_sync(kFullWarp, sum, kWarpSize - 1);
  const uint64_t target = is_first ? target_of(total) : shared.target;
  const unsigned reached = __ballot_sync(kFullWarp, sum >= target ? 1 : 0);
  const int32_t finder = reached == 0 ? kWarpSize - 1 : __ffs(static_cast<int>(reached)) - 1;
  __syncwarp(kFullWarp);  // shared.target has been read
  if (lane != finder) return;
  uint64_t before = sum - mine;
  int32_t digit = first;
  while (digit > first - kPerLane + 1 && before + shared.mass(digit) < target) {
    before += shared.mass(digit--);
  }
  shared.digit = static_cast<uint32_t>(digit);
  shared.needs_all = before + shared.mass(digit) <= target;
  shared.needs_everything = is_first && total <= target;
  shared.target = target - before;
}

// The sum of `mass`, which is below 2^32, over the lanes of a warp.
__device__ __forceinline__ uint64_t warp_mass(uint32_t mass) {
  const uint64_t low = __reduce_add_sync(kFullWarp, mass & 0xFFFFU);
  const uint64_t high = __reduce_add_sync(kFullWarp, mass >> 16);
  return (high << 16) + low;
}

// Adds the lanes' masses to their digits, those of 0 to none. For a whole warp. Most keys of a row
// share few digits, which would wait for each other: of the first few, one lane adds for all.
inline constexpr int kSharedDigits = 3;
__device__ __forceinline__ void add_to_digits(uint32_t digit, uint32_t mass, SelectMemory& shared) {
  const auto lane = static_cast<int32_t>(threadIdx.x % kWarpSize);
  unsigned left = __ballot_sync(kFullWarp, mass != 0 ? 1 : 0);
#pragma unroll 1
  for (int i = 0; i < kSharedDigits && left != 0; ++i) {
    const int32_t leader = __ffs(static_cast<int>(left)) - 1;
    const uint32_t common = __shfl_sync(kFullWarp, digit, leader);
    const bool has_it = mass != 0 && digit == common;
    const uint64_t sum = warp_mass(has_it ? mass : 0);
    if (lane == leader) shared.add(common, sum);
    left &= ~__ballot_sync(kFullWarp, has_it ? 1 : 0);
  }
  if ((left >> lane & 1U) != 0) shared.add(digit, mass);
}

// The least key of the shortest run of keys, greatest first, whose masses reach target_of(their
// total), which is 1 at least; 0 when all are needed. for_each(take) calls take(key, mass) for this
// thread's share of the keys, the same at each call and with whole warps; what has mass 0 is none.
// Keys are distinct, masses below 2^32. narrow(prefix) is called after each digit: the answer is
// `prefix` at least, and for_each may leave lower keys out from then on. For a whole block; every
// thread gets the answer.
template <int kThreads, class ForEach, class TargetOf, class Narrow>
__device__ __forceinline__ uint64_t select_greatest(const ForEach& for_each,
                                                    const TargetOf& target_of, const Narrow& narrow,
                                                    SelectMemory& shared) {
  constexpr int kFirstShift = 56;
  uint64_t prefix = 0;
  for (int shift = kFirstShift; shift >= 0; shift -= 8) {
    for (auto i = static_cast<int32_t>(threadIdx.x); i < kDigits; i += kThreads) {
      shared.low[i] = 0;
      shared.high[i] = 0;
    }
    __syncthreads();
    for_each([&](uint64_t key, uint32_t mass) {
      if (shift < kFirstShift && (key ^ prefix) >> (shift + 8) != 0) mass = 0;
      add_to_digits(static_cast<uint32_t>(key >> shift) & (kDigits - 1), mass, shared);
    });
    __syncthreads();
    if (threadIdx.x < kWarpSize) find_digit(shift == kFirstShift, target_of, shared);
    __syncthreads();
    if (shared.needs_everything) return 0;
    prefix |= uint64_t{shared.digit} << shift;
    narrow(prefix);
    if (shared.needs_all) break;
  }
  return prefix;
}

}  // namespace parkd::cuda
