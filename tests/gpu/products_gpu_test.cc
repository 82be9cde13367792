// cuBLAS as lib/backend/cuda calls it, on a real device, against float64, eagerly and in a graph.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <gtest/gtest.h>

#include <cmath>

#include "lib/backend/cuda/cublas.h"
#include "tests/cuda/device_test.h"

namespace parkd::cuda {
namespace {

template <class T>
T rounded(float x);
template <>
float rounded<float>(float x) {
  return x;
}
template <>
__half rounded<__half>(float x) {
  return __float2half_rn(x);
}
template <>
__nv_bfloat16 rounded<__nv_bfloat16>(float x) {
  return __float2bfloat16_rn(x);
}

struct Shape {
  int64_t n_rows;
  int64_t n_outputs;
  int64_t k;
};

class Products : public testing::DeviceTest {
 protected:
  template <class T>
  void check(Element element, const Shape& shape) {
    std::mt19937_64 random(testing::fresh_device_seed());
    // Integers that every type holds: products and sums of floats are exact up to 2^24.
    const auto draw = [&](size_t n) {
      std::vector<T> values(n);
      for (T& x : values) x = rounded<T>(static_cast<float>(static_cast<int>(random() % 9) - 4));
      return values;
    };
    const auto weight = draw(static_cast<size_t>(shape.n_outputs * shape.k));
    const auto in = draw(static_cast<size_t>(shape.n_rows * shape.k));
    const auto device_weight = upload(weight);
    const auto device_in = upload(in);
    const auto out =
        upload(std::vector<float>(static_cast<size_t>(shape.n_rows * shape.n_outputs)));
    auto own_stream = Stream::make();
    ASSERT_TRUE(own_stream.ok());
    const auto cublas = Cublas::make(*own_stream);
    ASSERT_TRUE(cublas.ok()) << cublas.status().to_string();
    const auto multiply = [&](bool add) {
      return cublas->multiply(device_weight.get(), device_in.get(), element, shape.n_rows,
                              shape.n_outputs, shape.k, add, out.get());
    };
    ASSERT_TRUE(multiply(false).ok());
    ASSERT_TRUE(Graph::begin(*own_stream).ok());
    ASSERT_TRUE(multiply(true).ok());
    const auto graph = Graph::end(*own_stream);
    ASSERT_TRUE(graph.ok()) << graph.status().to_string();
    ASSERT_TRUE(graph->launch(*own_stream).ok());
    ASSERT_TRUE(graph->launch(*own_stream).ok());
    ASSERT_TRUE(own_stream->synchronize().ok());
    const auto seen = download(out);
    for (int64_t row = 0; row < shape.n_rows; ++row) {
      for (int64_t o = 0; o < shape.n_outputs; ++o) {
        double sum = 0;
        for (int64_t i = 0; i < shape.k; ++i) {
          sum += widened(weight[static_cast<size_t>(o * shape.k + i)]) *
                 widened(in[static_cast<size_t>(row * shape.k + i)]);
        }
        ASSERT_EQ(seen[static_cast<size_t>(row * shape.n_outputs + o)], static_cast<float>(3 * sum))
            << "row " << row << " output " << o;
      }
    }
  }

  static double widened(float x) { return static_cast<double>(x); }
  static double widened(__half x) { return static_cast<double>(__half2float(x)); }
  static double widened(__nv_bfloat16 x) { return static_cast<double>(__bfloat162float(x)); }
};

TEST_F(Products, are_exact_on_integers_with_every_type_and_in_graphs) {
  for (const Shape shape : {Shape{1, 576, 576}, Shape{3, 960, 576}, Shape{64, 64, 1536}}) {
    check<float>(Element::f32, shape);
    check<__half>(Element::f16, shape);
    check<__nv_bfloat16>(Element::bf16, shape);
  }
}

// Integers this small are exact in TF32 too; these floats are not.
TEST_F(Products, of_floats_are_floats) {
  std::mt19937_64 random(testing::fresh_device_seed());
  constexpr int64_t kRows = 5;
  constexpr int64_t kOutputs = 96;
  constexpr int64_t kInner = 576;
  const auto draw = [&](int64_t n) {
    std::uniform_real_distribution<float> unit(-1, 1);
    std::vector<float> values(static_cast<size_t>(n));
    for (float& x : values) x = unit(random);
    return values;
  };
  const auto weight = draw(kOutputs * kInner);
  const auto in = draw(kRows * kInner);
  const auto device_weight = upload(weight);
  const auto device_in = upload(in);
  const auto out = upload(std::vector<float>(static_cast<size_t>(kRows * kOutputs)));
  auto own_stream = Stream::make();
  ASSERT_TRUE(own_stream.ok());
  const auto cublas = Cublas::make(*own_stream);
  ASSERT_TRUE(cublas.ok()) << cublas.status().to_string();
  ASSERT_TRUE(cublas
                  ->multiply(device_weight.get(), device_in.get(), Element::f32, kRows, kOutputs,
                             kInner, false, out.get())
                  .ok());
  ASSERT_TRUE(own_stream->synchronize().ok());
  const auto seen = download(out);
  for (int64_t row = 0; row < kRows; ++row) {
    for (int64_t o = 0; o < kOutputs; ++o) {
      double sum = 0;
      double size = 0;
      for (int64_t i = 0; i < kInner; ++i) {
        const double product = widened(weight[static_cast<size_t>(o * kInner + i)]) *
                               widened(in[static_cast<size_t>(row * kInner + i)]);
        sum += product;
        size += std::abs(product);
      }
      // Some roundings of 2^-24 each; TF32 rounds every factor by 2^-11 and is off by about 3e-5 of
      // the size here.
      ASSERT_NEAR(seen[static_cast<size_t>(row * kOutputs + o)], sum, 2e-6 * size)
          << "row " << row << " output " << o;
    }
  }
}

}  // namespace
}  // namespace parkd::cuda
