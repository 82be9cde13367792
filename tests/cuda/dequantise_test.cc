// GGUF rows to every element type, against the formats written out in float64.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/cuda/kernel_data.h"

namespace parkd::cuda {
namespace {

using cpu::SourceType;
using testing::DeviceArray;
using testing::Errors;
using testing::finish;

struct Format {
  SourceType source;
  int32_t ggml;
  const char* name;
};

TEST(CudaDequantise, gives_the_values_of_each_format) {
  std::mt19937_64 random(testing::fresh_seed());
  const Format formats[] = {{SourceType::f32, 0, "f32"},   {SourceType::f16, 1, "f16"},
                            {SourceType::q4_0, 2, "q4_0"}, {SourceType::q4_1, 3, "q4_1"},
                            {SourceType::q8_0, 8, "q8_0"}, {SourceType::bf16, 30, "bf16"}};
  for (const Format& format : formats) {
    for (const Element element : testing::kElements) {
      // The product is exact in f32 but for q4_1's sum; then the output's rounding, which below
      // f16's normal range is absolute.
      Errors errors(std::string("dequantise ") + format.name + " to " + testing::to_string(element),
                    testing::rounding(element), element == Element::f32 ? 1e-7 : 0x1p-25 + 1e-7);
      const bool is_quantised = format.ggml == 2 || format.ggml == 3 || format.ggml == 8;
      for (const auto& [rows, columns] :
           std::vector<std::pair<int64_t, int64_t>>{{1, 32},
                                                    {3, 576},
                                                    {70, 64},
                                                    {5, is_quantised ? 96 : 7},
                                                    {1, is_quantised ? 32 : 1}}) {
        const std::vector<uint8_t> bytes =
            testing::random_tensor(random, format.source, rows, columns);
        const DeviceArray<uint8_t> from(bytes);
        const DeviceArray<uint8_t> to(static_cast<size_t>(rows * columns * element_bytes(element)));
        finish(launch_dequantise({from.get(), format.ggml, rows, columns, to.get(), element},
                                 nullptr));
        const std::vector<float> got = testing::from_elements(element, to.read());
        for (int64_t i = 0; i < rows * columns; ++i) {
          errors.check(got[static_cast<size_t>(i)],
                       testing::reference::weight(static_cast<TensorType>(format.ggml), bytes, i),
                       std::to_string(i));
        }
      }
    }
  }
}

TEST(CudaDequantise, refuses_unknown_types_and_broken_blocks) {
  const DeviceArray<uint8_t> memory(static_cast<size_t>(1024));
  EXPECT_EQ(launch_dequantise({memory.get(), 12, 1, 32, memory.get(), Element::f32}, nullptr),
            cudaErrorInvalidValue);
  EXPECT_EQ(launch_dequantise({memory.get(), 2, 1, 48, memory.get(), Element::f32}, nullptr),
            cudaErrorInvalidValue);
  EXPECT_EQ(launch_dequantise({memory.get(), 0, 1, 4, memory.get() + 4, Element::f32}, nullptr),
            cudaErrorInvalidValue);
}

}  // namespace
}  // namespace parkd::cuda
