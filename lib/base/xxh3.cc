#include "lib/base/xxh3.h"

#include <array>
#include <cstddef>
#include <cstring>

namespace parkd {
namespace {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__);

constexpr uint64_t kPrime32_1 = 0x9E3779B1, kPrime32_2 = 0x85EBCA77, kPrime32_3 = 0xC2B2AE3D;
constexpr uint64_t kPrime64_1 = 0x9E3779B185EBCA87, kPrime64_2 = 0xC2B2AE3D27D4EB4F,
                   kPrime64_3 = 0x165667B19E3779F9, kPrime64_4 = 0x85EBCA77C2B2AE63,
                   kPrime64_5 = 0x27D4EB2F165667C5;
constexpr uint64_t kPrimeMx1 = 0x165667919E3779F9, kPrimeMx2 = 0x9FB21C651E98DF25;

constexpr std::array<unsigned char, 192> kSecret = {
    0xb8, 0xfe, 0x6c, 0x39, 0x23, 0xa4, 0x4b, 0xbe, 0x7c, 0x01, 0x81, 0x2c, 0xf7, 0x21, 0xad, 0x1c,
    0xde, 0xd4, 0x6d, 0xe9, 0x83, 0x90, 0x97, 0xdb, 0x72, 0x40, 0xa4, 0xa4, 0xb7, 0xb3, 0x67, 0x1f,
    0xcb, 0x79, 0xe6, 0x4e, 0xcc, 0xc0, 0xe5, 0x78, 0x82, 0x5a, 0xd0, 0x7d, 0xcc, 0xff, 0x72, 0x21,
    0xb8, 0x08, 0x46, 0x74, 0xf7, 0x43, 0x24, 0x8e, 0xe0, 0x35, 0x90, 0xe6, 0x81, 0x3a, 0x26, 0x4c,
    0x3c, 0x28, 0x52, 0xbb, 0x91, 0xc3, 0x00, 0xcb, 0x88, 0xd0, 0x65, 0x8b, 0x1b, 0x53, 0x2e, 0xa3,
    0x71, 0x64, 0x48, 0x97, 0xa2, 0x0d, 0xf9, 0x4e, 0x38, 0x19, 0xef, 0x46, 0xa9, 0xde, 0xac, 0xd8,
    0xa8, 0xfa, 0x76, 0x3f, 0xe3, 0x9c, 0x34, 0x3f, 0xf9, 0xdc, 0xbb, 0xc7, 0xc7, 0x0b, 0x4f, 0x1d,
    0x8a, 0x51, 0xe0, 0x4b, 0xcd, 0xb4, 0x59, 0x31, 0xc8, 0x9f, 0x7e, 0xc9, 0xd9, 0x78, 0x73, 0x64,
    0xea, 0xc5, 0xac, 0x83, 0x34, 0xd3, 0xeb, 0xc3, 0xc5, 0x81, 0xa0, 0xff, 0xfa, 0x13, 0x63, 0xeb,
    0x17, 0x0d, 0xdd, 0x51, 0xb7, 0xf0, 0xda, 0x49, 0xd3, 0x16, 0x55, 0x26, 0x29, 0xd4, 0x68, 0x9e,
    0x2b, 0x16, 0xbe, 0x58, 0x7d, 0x47, 0xa1, 0xfc, 0x8f, 0xf8, 0xb8, 0xd1, 0x7a, 0xd0, 0x31, 0xce,
    0x45, 0xcb, 0x3a, 0x8f, 0x95, 0x16, 0x04, 0x28, 0xaf, 0xd7, 0xfb, 0xca, 0xbb, 0x4b, 0x40, 0x7e};
constexpr size_t kSecretBytes = 192;

uint64_t read_64(const unsigned char* at) {
  uint64_t value = 0;
  std::memcpy(&value, at, sizeof value);
  return value;
}
uint64_t read_32(const unsigned char* at) {
  uint32_t value = 0;
  std::memcpy(&value, at, sizeof value);
  return value;
}
uint64_t secret_64(size_t at) {
  return read_64(kSecret.data() + at);
}
uint64_t secret_32(size_t at) {
  return read_32(kSecret.data() + at);
}

__extension__ using Wide = unsigned __int128;

uint64_t fold(uint64_t a, uint64_t b) {
  const Wide product = static_cast<Wide>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}
uint64_t rotate(uint64_t value, int bits) {
  return (value << bits) | (value >> (64 - bits));
}

uint64_t avalanche(uint64_t h) {
  h ^= h >> 37;
  h *= kPrimeMx1;
  return h ^ (h >> 32);
}
uint64_t avalanche_xxh64(uint64_t h) {
  h ^= h >> 33;
  h *= kPrime64_2;
  h ^= h >> 29;
  h *= kPrime64_3;
  return h ^ (h >> 32);
}

uint64_t hash_to_16(const unsigned char* in, size_t n) {
  if (n > 8) {
    const uint64_t low = read_64(in) ^ (secret_64(24) ^ secret_64(32));
    const uint64_t high = read_64(in + n - 8) ^ (secret_64(40) ^ secret_64(48));
    return avalanche(n + __builtin_bswap64(low) + high + fold(low, high));
  }
  if (n >= 4) {
    const uint64_t first = read_32(in), last = read_32(in + n - 4);
    uint64_t h = (last + (first << 32)) ^ (secret_64(8) ^ secret_64(16));
    h ^= rotate(h, 49) ^ rotate(h, 24);
    h *= kPrimeMx2;
    h ^= (h >> 35) + n;
    h *= kPrimeMx2;
    return h ^ (h >> 28);
  }
  if (n > 0) {
    const uint64_t mixed = (uint64_t{in[0]} << 16) | (uint64_t{in[n >> 1]} << 24) | in[n - 1] |
                           (static_cast<uint64_t>(n) << 8);
    return avalanche_xxh64(mixed ^ (secret_32(0) ^ secret_32(4)));
  }
  return avalanche_xxh64(secret_64(56) ^ secret_64(64));
}

uint64_t mix_16(const unsigned char* in, size_t secret) {
  return fold(read_64(in) ^ secret_64(secret), read_64(in + 8) ^ secret_64(secret + 8));
}

uint64_t hash_to_128(const unsigned char* in, size_t n) {
  uint64_t sum = n * kPrime64_1;
  for (size_t i = (n - 1) / 32 + 1; i-- > 0;) {
    sum += mix_16(in + 16 * i, 32 * i) + mix_16(in + n - 16 * (i + 1), 32 * i + 16);
  }
  return avalanche(sum);
}

uint64_t hash_to_240(const unsigned char* in, size_t n) {
  uint64_t sum = n * kPrime64_1;
  for (size_t i = 0; i < 8; ++i) sum += mix_16(in + 16 * i, 16 * i);
  sum = avalanche(sum);
  for (size_t i = 8; i < n / 16; ++i) sum += mix_16(in + 16 * i, 16 * (i - 8) + 3);
  return avalanche(sum + mix_16(in + n - 16, 136 - 17));
}

using Lanes = std::array<uint64_t, 8>;
constexpr size_t kStripeBytes = 64;
constexpr size_t kBlockStripes = (kSecretBytes - kStripeBytes) / 8;

void add_stripe(Lanes& lanes, const unsigned char* in, size_t secret) {
  for (size_t i = 0; i < 8; ++i) {
    const uint64_t value = read_64(in + 8 * i);
    const uint64_t key = value ^ secret_64(secret + 8 * i);
    lanes[i ^ 1] += value;
    lanes[i] += (key & 0xffffffff) * (key >> 32);
  }
}

uint64_t hash_long(const unsigned char* in, size_t n) {
  Lanes lanes = {kPrime32_3, kPrime64_1, kPrime64_2, kPrime64_3,
                 kPrime64_4, kPrime32_2, kPrime64_5, kPrime32_1};
  const size_t n_stripes = (n - 1) / kStripeBytes;
  for (size_t i = 0; i < n_stripes; ++i) {
    add_stripe(lanes, in + i * kStripeBytes, 8 * (i % kBlockStripes));
    if ((i + 1) % kBlockStripes != 0) continue;
    for (size_t j = 0; j < 8; ++j) {
      lanes[j] ^= (lanes[j] >> 47) ^ secret_64(kSecretBytes - kStripeBytes + 8 * j);
      lanes[j] *= kPrime32_1;
    }
  }
  add_stripe(lanes, in + n - kStripeBytes, kSecretBytes - kStripeBytes - 7);
  uint64_t sum = n * kPrime64_1;
  for (size_t i = 0; i < 4; ++i) {
    sum += fold(lanes[2 * i] ^ secret_64(11 + 16 * i), lanes[2 * i + 1] ^ secret_64(19 + 16 * i));
  }
  return avalanche(sum);
}

}  // namespace

uint64_t xxh3_64(std::string_view bytes) {
  const auto* in = reinterpret_cast<const unsigned char*>(bytes.data());
  const size_t n = bytes.size();
  if (n <= 16) return hash_to_16(in, n);
  if (n <= 128) return hash_to_128(in, n);
  if (n <= 240) return hash_to_240(in, n);
  return hash_long(in, n);
}

}  // namespace parkd
