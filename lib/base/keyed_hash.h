// SipHash-2-4 (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012): a 64-bit hash that
// who does not know the key cannot make collide on purpose. For texts that others choose; where
// a collision helps no one, fnv1a64 will do. Pure functions, any thread.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace parkd {

using HashKey = std::array<uint64_t, 2>;

// From the kernel's random source.
HashKey random_hash_key();

uint64_t keyed_hash(const HashKey& key, std::string_view bytes);

}  // namespace parkd
