// Philox4x32-10, the counter-based random generator of Salmon, Moraes, Dror and Shaw, "Parallel
// random numbers: as easy as 1, 2, 3" (SC 2011): a pure function of (counter, key), all in 32-bit
// integers, so host and device agree bit for bit. No state, any thread, never allocates.
#pragma once

#include <cstdint>

#include "kernels/common/host_device.h"

namespace parkd {

struct PhiloxCounter {
  uint32_t word[4];
};

struct PhiloxKey {
  uint32_t word[2];
};

// The block of 128 random bits at `counter` of the stream `key`.
PARKD_HOST_DEVICE inline PhiloxCounter philox4x32_10(PhiloxCounter counter, PhiloxKey key) {
  constexpr uint32_t kMultiplier0 = 0xD2511F53U;
  constexpr uint32_t kMultiplier1 = 0xCD9E8D57U;
  constexpr uint32_t kWeyl0 = 0x9E3779B9U;  // golden ratio
  constexpr uint32_t kWeyl1 = 0xBB67AE85U;  // sqrt(3) - 1
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{kMultiplier0} * counter.word[0];
    const uint64_t product1 = uint64_t{kMultiplier1} * counter.word[2];
    const PhiloxCounter next = {{
        static_cast<uint32_t>(product1 >> 32) ^ counter.word[1] ^ key.word[0],
        static_cast<uint32_t>(product1),
        static_cast<uint32_t>(product0 >> 32) ^ counter.word[3] ^ key.word[1],
        static_cast<uint32_t>(product0),
    }};
    counter = next;
    key.word[0] += kWeyl0;
    key.word[1] += kWeyl1;
  }
  return counter;
}

// 64 uniform bits for the token at `position` of choice `choice_index` of a request with `seed`.
PARKD_HOST_DEVICE inline uint64_t sampling_noise(uint64_t seed, uint32_t choice_index,
                                                 uint32_t position) {
  const PhiloxCounter counter = {{position, choice_index, 0, 0}};
  const PhiloxKey key = {{static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)}};
  const PhiloxCounter bits = philox4x32_10(counter, key);
  return (uint64_t{bits.word[1]} << 32) | bits.word[0];
}

}  // namespace parkd
