// Matrix products of every weight type and instruction set against sums in double, and I7: a row's
// bits do not depend on the rows or panels computed with it.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "tests/ops/op_cases.h"
#include "tests/support/random_data.h"

namespace parkd {
namespace {

using cpu::PanelType;
using cpu::SourceType;
using testing::Activations;
using testing::PackedTensor;

struct Weight {
  SourceType from;
  PanelType to;
  const char* name;
};

constexpr Weight kWeights[] = {
    {SourceType::q4_0, PanelType::q4_0, "q4_0"},    {SourceType::q4_1, PanelType::q4_1, "q4_1"},
    {SourceType::q8_0, PanelType::q8_0, "q8_0"},    {SourceType::f32, PanelType::bf16, "f32_bf16"},
    {SourceType::f16, PanelType::bf16, "f16_bf16"}, {SourceType::bf16, PanelType::bf16, "bf16"},
    {SourceType::f32, PanelType::f32, "f32"},       {SourceType::q4_1, PanelType::f32, "q4_1_f32"},
    {SourceType::q8_0, PanelType::f32, "q8_0_f32"}, {SourceType::q4_0, PanelType::f32, "q4_0_f32"},
};

bool is_float_panel(PanelType type) {
  return type == PanelType::f32 || type == PanelType::bf16;
}

std::vector<float> product(const cpu::CpuKernels& kernels, const cpu::PackedMatrix& weight,
                           const Activations& in, int64_t first_row, int64_t n_rows) {
  std::vector<float> out(static_cast<size_t>(n_rows * weight.n_outputs), -77.0F);
  cpu::MatmulArgs args;
  args.weight = weight;
  args.in = in.view(first_row);
  args.n_rows = n_rows;
  args.last_panel = cpu::panel_count(weight.n_outputs);
  args.out = out.data();
  args.out_stride = weight.n_outputs;
  kernels.matmul(args);
  return out;
}

void compare_with_double(cpu::Isa isa, const Weight& weight, int64_t m, int64_t n, int64_t k,
                         std::mt19937_64& random) {
  const cpu::CpuKernels& kernels = cpu::kernels_of(isa);
  const auto bytes = testing::random_tensor(random, weight.from, n, k);
  const PackedTensor packed(weight.from, bytes, n, k, weight.to);
  const Activations in(kernels, testing::random_floats(random, m * k), m, k);
  const std::vector<float> out = product(kernels, packed.matrix, in, 0, m);
  std::vector<float> row(static_cast<size_t>(k));
  for (int64_t column = 0; column < n; ++column) {
    cpu::unpack_row(packed.matrix, column, row.data());
    for (int64_t i = 0; i < m; ++i) {
      double sum = 0;
      double magnitude = 0;
      for (int64_t j = 0; j < k; ++j) {
        const double term =
            in.seen(weight.to, i, j) * static_cast<double>(row[static_cast<size_t>(j)]);
        sum += term;
        magnitude += std::fabs(term);
      }
      // Floats round at most once a term (twice for the bf16 instruction's pair sums), each time by
      // at most 2^-24 of what has been summed; q4_1 sums its minima apart, so its partial sums can
      // be some eight times the terms.
      const double bound = (magnitude * 8 + 1e-30) * 0x1p-24 * static_cast<double>(k + 8);
      const double got = static_cast<double>(out[static_cast<size_t>(i * n + column)]);
      ASSERT_NEAR(got, sum, bound) << cpu::to_string(isa) << " " << weight.name << " M " << m
                                   << " N " << n << " K " << k << " at " << i << "," << column;
    }
  }
}

TEST(Matmul, equals_the_sum_in_double_for_every_type_isa_and_shape) {
  std::mt19937_64 random(testing::fresh_seed());
  for (const cpu::Isa isa : testing::available_isas()) {
    for (const Weight& weight : kWeights) {
      const bool blocks = weight.from != SourceType::f32 && weight.from != SourceType::f16 &&
                          weight.from != SourceType::bf16;
      for (const testing::OpCase& c : testing::op_cases(testing::Op::matmul)) {
        // The shapes once, whatever the type.
        if (c.weight != TensorType::f32 || (blocks && c.columns % 32 != 0)) continue;
        compare_with_double(isa, weight, c.n_rows(), c.outputs, c.columns, random);
      }
    }
  }
}

TEST(Matmul, survives_the_largest_codes_and_activations) {
  // 16-bit intermediate sums of AVX2 must not saturate: all codes extreme, all activations alike.
  for (const cpu::Isa isa : testing::available_isas()) {
    const cpu::CpuKernels& kernels = cpu::kernels_of(isa);
    for (const uint8_t code : {uint8_t{0x00}, uint8_t{0x7F}, uint8_t{0x80}, uint8_t{0xFF}}) {
      for (const float sign : {1.0F, -1.0F}) {
        for (const Weight& weight : kWeights) {
          if (is_float_panel(weight.to)) continue;
          const int64_t k = 64;
          std::vector<uint8_t> bytes(static_cast<size_t>(cpu::source_row_bytes(weight.from, k)),
                                     code);
          const uint16_t one = 0x3C00;
          for (size_t at = 0; at < bytes.size(); at += bytes.size() / 2) {
            std::memcpy(bytes.data() + at, &one, 2);
            if (weight.from == SourceType::q4_1) std::memcpy(bytes.data() + at + 2, &one, 2);
          }
          const PackedTensor packed(weight.from, bytes, 1, k, weight.to);
          const Activations in(kernels, std::vector<float>(64, sign * 127.0F), 1, k);
          std::vector<float> row(64);
          cpu::unpack_row(packed.matrix, 0, row.data());
          double sum = 0;
          for (const float w : row)
            sum += static_cast<double>(w) * static_cast<double>(sign) * 127.0;
          EXPECT_EQ(static_cast<double>(product(kernels, packed.matrix, in, 0, 1)[0]), sum)
              << cpu::to_string(isa) << " " << weight.name << " code " << int{code};
        }
      }
    }
  }
}

TEST(Matmul, a_row_has_the_same_bits_for_1_8_13_and_64_rows) {
  std::mt19937_64 random(testing::fresh_seed());
  const int64_t n = 49;
  const int64_t k = 192;
  for (const cpu::Isa isa : testing::available_isas()) {
    const cpu::CpuKernels& kernels = cpu::kernels_of(isa);
    const Activations in(kernels, testing::random_floats(random, 64 * k), 64, k);
    for (const Weight& weight : kWeights) {
      const auto bytes = testing::random_tensor(random, weight.from, n, k);
      const PackedTensor packed(weight.from, bytes, n, k, weight.to);
      const std::vector<float> whole = product(kernels, packed.matrix, in, 0, 64);
      for (const int64_t m : {1, 2, 3, 8, 13}) {
        for (int64_t first = 0; first + m <= 64; first += m) {
          const std::vector<float> part = product(kernels, packed.matrix, in, first, m);
          ASSERT_EQ(std::memcmp(part.data(), whole.data() + first * n, part.size() * 4), 0)
              << cpu::to_string(isa) << " " << weight.name << " rows " << first << "+" << m;
        }
      }
    }
  }
}

TEST(Matmul, instruction_sets_agree_bit_for_bit_but_for_the_bf16_dot) {
  std::mt19937_64 random(testing::fresh_seed());
  const int64_t n = 33;
  const int64_t k = 192;
  const std::vector<float> values = testing::random_floats(random, 5 * k);
  for (const Weight& weight : kWeights) {
    const auto bytes = testing::random_tensor(random, weight.from, n, k);
    const PackedTensor packed(weight.from, bytes, n, k, weight.to);
    const cpu::CpuKernels& scalar = cpu::kernels_of(cpu::Isa::scalar);
    const std::vector<float> wanted =
        product(scalar, packed.matrix, Activations(scalar, values, 5, k), 0, 5);
    for (const cpu::Isa isa : testing::available_isas()) {
      if (isa == cpu::Isa::avx512 && weight.to == PanelType::bf16) continue;
      const cpu::CpuKernels& kernels = cpu::kernels_of(isa);
      EXPECT_EQ(product(kernels, packed.matrix, Activations(kernels, values, 5, k), 0, 5), wanted)
          << cpu::to_string(isa) << " " << weight.name;
    }
  }
}

TEST(Matmul, add_is_one_addition_and_touches_only_its_panels) {
  std::mt19937_64 random(testing::fresh_seed());
  const int64_t n = 49;
  const int64_t k = 64;
  const int64_t stride = n + 3;
  for (const cpu::Isa isa : testing::available_isas()) {
    const cpu::CpuKernels& kernels = cpu::kernels_of(isa);
    for (const Weight& weight : kWeights) {
      const auto bytes = testing::random_tensor(random, weight.from, n, k);
      const PackedTensor packed(weight.from, bytes, n, k, weight.to);
      const Activations in(kernels, testing::random_floats(random, 2 * k), 2, k);
      const std::vector<float> wanted = product(kernels, packed.matrix, in, 0, 2);
      const std::vector<float> before = testing::random_floats(random, 2 * stride);
      std::vector<float> sum = before;
      cpu::MatmulArgs args;
      args.weight = packed.matrix;
      args.in = in.view();
      args.n_rows = 2;
      args.first_panel = 1;
      args.last_panel = cpu::panel_count(n);
      args.out = sum.data();
      args.out_stride = stride;
      args.add = true;
      kernels.matmul(args);
      for (int64_t i = 0; i < 2 * stride; ++i) {
        const int64_t column = i % stride;
        const float old = before[static_cast<size_t>(i)];
        const bool ours = column >= 16 && column < n;
        const float want = ours ? old + wanted[static_cast<size_t>(i / stride * n + column)] : old;
        ASSERT_EQ(sum[static_cast<size_t>(i)], want) << cpu::to_string(isa) << " " << weight.name;
      }
    }
  }
}

TEST(Pack, every_code_dequantises_to_its_formula_exactly) {
  // d and m chosen so that a wrong order of rounding would show.
  const uint16_t d_bits = 0x2A3D;
  const uint16_t m_bits = 0xB155;
  const auto half = [](uint16_t bits) {
    return std::ldexp(1.0 + (bits & 0x3FF) / 1024.0, ((bits >> 10) & 31) - 15) *
           ((bits & 0x8000) != 0 ? -1 : 1);
  };
  const double d = half(d_bits);
  const double m = half(m_bits);
  for (int code = 0; code < 256; ++code) {
    const auto byte = static_cast<uint8_t>(code);
    for (const SourceType type : {SourceType::q4_0, SourceType::q4_1, SourceType::q8_0}) {
      std::vector<uint8_t> block(static_cast<size_t>(cpu::source_row_bytes(type, 32)), byte);
      std::memcpy(block.data(), &d_bits, 2);
      if (type == SourceType::q4_1) std::memcpy(block.data() + 2, &m_bits, 2);
      const PanelType own = type == SourceType::q4_0   ? PanelType::q4_0
                            : type == SourceType::q4_1 ? PanelType::q4_1
                                                       : PanelType::q8_0;
      for (const PanelType to : {own, PanelType::f32}) {
        const PackedTensor packed(type, block, 1, 32, to);
        std::vector<float> row(32);
        cpu::unpack_row(packed.matrix, 0, row.data());
        for (int i = 0; i < 32; ++i) {
          const int nibble = i < 16 ? code & 15 : code >> 4;
          const double want = type == SourceType::q4_0   ? d * (nibble - 8)
                              : type == SourceType::q4_1 ? d * nibble + m
                                                         : d * static_cast<int8_t>(byte);
          ASSERT_EQ(row[static_cast<size_t>(i)], static_cast<float>(want)) << "code " << code;
        }
      }
    }
  }
}

TEST(Pack, all_f16_values_widen_exactly) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    std::vector<uint8_t> bytes(2);
    std::memcpy(bytes.data(), &half, 2);
    float value;
    cpu::dequantise_source_row(SourceType::f16, bytes.data(), 1, &value);
    const int exponent = (half >> 10) & 31;
    const double mantissa = (half & 0x3FF) / 1024.0;
    const double sign = (half & 0x8000) != 0 ? -1 : 1;
    if (exponent == 31) {
      EXPECT_EQ(std::isnan(value), mantissa != 0);
      EXPECT_EQ(std::isinf(value), mantissa == 0);
    } else {
      const double want =
          exponent == 0 ? std::ldexp(mantissa, -14) : std::ldexp(1 + mantissa, exponent - 15);
      EXPECT_EQ(static_cast<double>(value), sign * want);
    }
  }
}

}  // namespace
}  // namespace parkd
