// Random inputs for the kernel tests, from a seed that is new each time and printed.
#pragma once

#include <cstdint>
#include <cstring>
#include <iostream>
#include <random>
#include <vector>

#include "kernels/cpu/cpu_kernels.h"
#include "kernels/cpu/pack.h"
#include "lib/weights/formats.h"

namespace parkd::testing {

inline uint64_t fresh_seed() {
  const uint64_t seed = std::random_device{}();
  std::cout << "seed " << seed << "\n";
  return seed;
}

// The instruction sets of this machine.
inline std::vector<cpu::Isa> available_isas() {
  std::vector<cpu::Isa> isas;
  for (const cpu::Isa isa : {cpu::Isa::scalar, cpu::Isa::avx2, cpu::Isa::avx512}) {
    if (cpu::isa_available(isa)) isas.push_back(isa);
  }
  return isas;
}

inline std::vector<float> random_floats(std::mt19937_64& random, int64_t n, float sigma = 1.0F) {
  std::normal_distribution<float> normal(0.0F, sigma);
  std::vector<float> values(static_cast<size_t>(n));
  for (float& value : values) value = normal(random);
  return values;
}

// Where a quantised type's block has its f16 scale and minimum (MXFP4: a byte of exponent).
struct ScalePlaces {
  size_t scale = 0;
  int minimum = -1;  // none
};
inline ScalePlaces scale_places(TensorType type) {
  switch (type) {
    case TensorType::q4_1:
    case TensorType::q5_1:
    case TensorType::q4_k:
    case TensorType::q5_k:
      return {0, 2};
    case TensorType::q2_k:
      return {80, 82};
    case TensorType::q3_k:
      return {108, -1};
    case TensorType::q6_k:
      return {208, -1};
    default:
      return {};
  }
}

// Random rows of a GGUF tensor: for the quantised types every code and every factor of a scale
// equally likely, and scales (and the minima of Q4_1 and Q5_1, negative) of magnitude 2^-7 .. 2^-4.
inline std::vector<uint8_t> random_tensor(std::mt19937_64& random, TensorType type, int64_t rows,
                                          int64_t k) {
  std::vector<uint8_t> bytes(static_cast<size_t>(rows * cpu::source_row_bytes(type, k)));
  std::uniform_int_distribution<int> byte(0, 255);
  for (uint8_t& b : bytes) b = static_cast<uint8_t>(byte(random));
  const auto put_half = [&](size_t at, int low, int high) {
    const auto bits = static_cast<uint16_t>(std::uniform_int_distribution<int>(low, high)(random));
    std::memcpy(bytes.data() + at, &bits, 2);
  };
  const TensorFormat& format = *find_format(type);
  const ScalePlaces places = scale_places(type);
  if (!format.is_quantised()) {
    const std::vector<float> values = random_floats(random, rows * k, 0.1F);
    for (size_t i = 0; i < values.size(); ++i) {
      uint32_t bits;
      std::memcpy(&bits, &values[i], 4);
      if (type == TensorType::f32) {
        std::memcpy(bytes.data() + i * 4, &bits, 4);
      } else if (type == TensorType::bf16) {
        const auto half = static_cast<uint16_t>(bits >> 16);
        std::memcpy(bytes.data() + i * 2, &half, 2);
      } else {
        put_half(i * 2, 0x2000, 0x2FFF);
      }
    }
    return bytes;
  }
  for (size_t at = 0; at < bytes.size(); at += static_cast<size_t>(format.block_bytes)) {
    if (type == TensorType::mxfp4) {
      bytes[at] = static_cast<uint8_t>(std::uniform_int_distribution<int>(120, 124)(random));
      continue;
    }
    put_half(at + places.scale, 0x2000, 0x2FFF);
    if (places.minimum < 0) continue;
    const int sign = format.block_elements == 256 ? 0 : 0x8000;  // the K types subtract theirs
    put_half(at + static_cast<size_t>(places.minimum), sign | 0x2000, sign | 0x2FFF);
  }
  return bytes;
}

// A packed matrix with its memory.
struct PackedTensor {
  std::vector<uint8_t> storage;
  cpu::PackedMatrix matrix;

  PackedTensor(TensorType from, const std::vector<uint8_t>& bytes, int64_t rows, int64_t k,
               cpu::PanelType to) {
    const int64_t size = cpu::panel_count(rows) * cpu::panel_bytes(to, k);
    storage.resize(static_cast<size_t>(size) + 64);
    auto* panels = storage.data() + (64 - reinterpret_cast<uintptr_t>(storage.data()) % 64) % 64;
    cpu::pack_matrix(from, bytes.data(), rows, k, to, panels);
    matrix = {to, rows, k, panels};
  }
  PackedTensor(const PackedTensor&) = delete;
  PackedTensor& operator=(const PackedTensor&) = delete;
};

// Rows of activations in every form.
struct Activations {
  int64_t rows;
  int64_t k;
  int64_t stride;
  std::vector<float> f32;
  std::vector<uint16_t> bf16;
  std::vector<int8_t> q8;
  std::vector<cpu::ActivationBlock> blocks;

  Activations(const cpu::CpuKernels& kernels, const std::vector<float>& values, int64_t n_rows,
              int64_t n_columns)
      : rows(n_rows), k(n_columns), stride(cpu::ceil_div(n_columns, 32) * 32) {
    const auto n = static_cast<size_t>(rows * stride);
    f32.resize(n);
    bf16.resize(n);
    q8.resize(n);
    blocks.resize(n / 32);
    for (int64_t row = 0; row < rows; ++row) {
      std::memcpy(f32.data() + row * stride, values.data() + row * k,
                  static_cast<size_t>(k) * sizeof(float));
      kernels.to_bf16(f32.data() + row * stride, k, bf16.data() + row * stride);
      if (k % 32 == 0) {
        kernels.quantise_row(f32.data() + row * stride, k, q8.data() + row * stride,
                             blocks.data() + row * (stride / 32));
      }
    }
  }

  cpu::ActivationRows view(int64_t first_row = 0) const {
    cpu::ActivationRows result;
    result.f32 = f32.data() + first_row * stride;
    result.bf16 = bf16.data() + first_row * stride;
    result.q8 = q8.data() + first_row * stride;
    result.blocks = blocks.data() + first_row * (stride / 32);
    result.f32_stride = result.bf16_stride = result.q8_stride = stride;
    result.blocks_stride = stride / 32;
    return result;
  }

  // The value that the kernels of a panel type see.
  double seen(cpu::PanelType type, int64_t row, int64_t i) const {
    const auto at = static_cast<size_t>(row * stride + i);
    if (type == cpu::PanelType::f32) return static_cast<double>(f32[at]);
    if (type == cpu::PanelType::bf16) {
      const uint32_t bits = uint32_t{bf16[at]} << 16;
      float value;
      std::memcpy(&value, &bits, 4);
      return static_cast<double>(value);
    }
    return static_cast<double>(blocks[at / 32].scale) * q8[at];
  }
};

}  // namespace parkd::testing
