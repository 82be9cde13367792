// Matrix products of every weight type and instruction set against sums in double, and I7: a row's
// bits do not depend on the rows or panels computed with it.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "kernels/common/half.h"
#include "lib/weights/dequantise.h"
#include "lib/weights/formats.h"
#include "tests/ops/op_cases.h"
#include "tests/support/random_data.h"

namespace parkd {
namespace {

using cpu::PanelType;
using testing::Activations;
using testing::PackedTensor;

struct Weight {
  TensorType from;
  PanelType to;
  std::string name;
  int64_t unit = 1;  // K is a multiple of it
};

// Every type of the table as what it is packed as and as floats; plain types as bf16 too.
std::vector<Weight> all_weights() {
  std::vector<Weight> weights;
  for (const TensorFormat& format : kTensorFormats) {
    const std::string name(format.name);
    const PanelType own = cpu::packed_type(format.type);
    weights.push_back({format.type, own, name, format.block_elements});
    weights.push_back({format.type, PanelType::f32, name + " as f32", format.block_elements});
  }
  return weights;
}
const std::vector<Weight> kWeights = all_weights();

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
      for (const testing::OpCase& c : testing::op_cases(testing::Op::matmul)) {
        // The shapes once, whatever the type.
        if (c.weight != TensorType::f32 || c.columns % std::min<int64_t>(weight.unit, 32) != 0)
          continue;
        const int64_t k = std::max(c.columns / weight.unit, int64_t{1}) * weight.unit;
        compare_with_double(isa, weight, c.n_rows(), c.outputs, k, random);
      }
    }
  }
}

// A row whose bytes are all `code`, with scales and minima of 1.
std::vector<uint8_t> all_alike(TensorType type, uint8_t code, int64_t k) {
  std::vector<uint8_t> bytes(static_cast<size_t>(cpu::source_row_bytes(type, k)), code);
  const testing::ScalePlaces places = testing::scale_places(type);
  const uint16_t one = 0x3C00;
  const auto block = static_cast<size_t>(find_format(type)->block_bytes);
  for (size_t at = 0; at < bytes.size(); at += block) {
    if (type == TensorType::mxfp4) {
      bytes[at] = 128;
      continue;
    }
    std::memcpy(bytes.data() + at + places.scale, &one, 2);
    if (places.minimum < 0) continue;
    std::memcpy(bytes.data() + at + static_cast<size_t>(places.minimum), &one, 2);
  }
  return bytes;
}

TEST(Matmul, survives_the_largest_codes_and_activations) {
  // 16-bit intermediate sums of AVX2 must not saturate: all codes extreme, all activations alike.
  for (const cpu::Isa isa : testing::available_isas()) {
    const cpu::CpuKernels& kernels = cpu::kernels_of(isa);
    for (const uint8_t code : {uint8_t{0x00}, uint8_t{0x7F}, uint8_t{0x80}, uint8_t{0xFF}}) {
      for (const float sign : {1.0F, -1.0F}) {
        for (const Weight& weight : kWeights) {
          if (is_float_panel(weight.to)) continue;
          const int64_t k = 256;
          const std::vector<uint8_t> bytes = all_alike(weight.from, code, k);
          const PackedTensor packed(weight.from, bytes, 1, k, weight.to);
          const Activations in(kernels, std::vector<float>(256, sign * 127.0F), 1, k);
          std::vector<float> row(256);
          cpu::unpack_row(packed.matrix, 0, row.data());
          double sum = 0;
          for (const float w : row)
            sum += static_cast<double>(w) * static_cast<double>(sign) * 127.0;
          // Blocks of 32 sum exactly here; those of 256, whose factors are large too, nearly.
          EXPECT_NEAR(static_cast<double>(product(kernels, packed.matrix, in, 0, 1)[0]), sum,
                      weight.unit > 32 ? 200.0 : 0.0)
              << cpu::to_string(isa) << " " << weight.name << " code " << int{code};
        }
      }
    }
  }
}

TEST(Matmul, a_row_has_the_same_bits_for_1_8_13_and_64_rows) {
  std::mt19937_64 random(testing::fresh_seed());
  const int64_t n = 49;
  const int64_t k = 768;
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
  const int64_t k = 768;
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
  const int64_t k = 256;
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

TEST(Pack, a_row_comes_back_as_the_reference_reads_it) {
  std::mt19937_64 random(testing::fresh_seed());
  const int64_t n = 19;
  const int64_t k = 768;
  for (const Weight& weight : kWeights) {
    const auto bytes = testing::random_tensor(random, weight.from, n, k);
    const PackedTensor packed(weight.from, bytes, n, k, weight.to);
    std::vector<float> want(static_cast<size_t>(n * k));
    dequantise(weight.from, bytes.data(), n * k, want.data());
    std::vector<float> row(static_cast<size_t>(k));
    for (int64_t i = 0; i < n; ++i) {
      cpu::unpack_row(packed.matrix, i, row.data());
      for (int64_t j = 0; j < k; ++j) {
        float value = want[static_cast<size_t>(i * k + j)];
        if (weight.to == PanelType::bf16) value = bf16_to_float(float_to_bf16(value));
        ASSERT_EQ(std::bit_cast<uint32_t>(row[static_cast<size_t>(j)]),
                  std::bit_cast<uint32_t>(value))
            << weight.name << " at " << i << "," << j;
      }
    }
  }
}

}  // namespace
}  // namespace parkd
