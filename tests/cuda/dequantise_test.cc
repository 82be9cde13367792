// GGUF rows to every element type, against the reference.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "lib/weights/dequantise.h"
#include "lib/weights/formats.h"
#include "tests/cuda/kernel_data.h"

namespace parkd::cuda {
namespace {

using testing::DeviceArray;
using testing::Errors;
using testing::finish;

// The CPU's reference is held to ggml's own numbers by tests/golden/format_golden_test.
TEST(CudaDequantise, gives_the_values_of_each_format) {
  std::mt19937_64 random(testing::fresh_seed());
  for (const TensorFormat& format : kTensorFormats) {
    for (const Element element : testing::kElements) {
      // The values have the reference's bits; then the output's rounding, which below f16's normal
      // range is absolute.
      Errors errors("dequantise " + std::string(format.name) + " to " + testing::to_string(element),
                    testing::rounding(element), element == Element::f32 ? 0 : 0x1p-25 + 1e-7);
      const int64_t wide = format.block_elements;
      const int64_t odd = format.is_quantised() ? 3 * wide : 7;
      for (const auto& [rows, columns] : std::vector<std::pair<int64_t, int64_t>>{
               {1, wide}, {3, 2304}, {70, std::max<int64_t>(64, wide)}, {5, odd}}) {
        const std::vector<uint8_t> bytes =
            testing::random_tensor(random, format.type, rows, columns);
        const DeviceArray<uint8_t> from(bytes);
        const DeviceArray<uint8_t> to(static_cast<size_t>(rows * columns * element_bytes(element)));
        finish(launch_dequantise(
            {from.get(), static_cast<int32_t>(format.type), rows, columns, to.get(), element},
            nullptr));
        const std::vector<float> got = testing::from_elements(element, to.read());
        std::vector<float> want(static_cast<size_t>(rows * columns));
        dequantise(format.type, bytes.data(), rows * columns, want.data());
        for (size_t i = 0; i < want.size(); ++i) {
          errors.check(got[i], static_cast<double>(want[i]), std::to_string(i));
        }
      }
    }
  }
}

TEST(CudaDequantise, refuses_unknown_types_and_broken_blocks) {
  const DeviceArray<uint8_t> memory(static_cast<size_t>(1024));
  EXPECT_EQ(launch_dequantise({memory.get(), 16, 1, 256, memory.get(), Element::f32}, nullptr),
            cudaErrorInvalidValue);
  EXPECT_EQ(launch_dequantise({memory.get(), 12, 1, 32, memory.get(), Element::f32}, nullptr),
            cudaErrorInvalidValue);
  EXPECT_EQ(launch_dequantise({memory.get(), 2, 1, 48, memory.get(), Element::f32}, nullptr),
            cudaErrorInvalidValue);
  EXPECT_EQ(launch_dequantise({memory.get(), 0, 1, 4, memory.get() + 4, Element::f32}, nullptr),
            cudaErrorInvalidValue);
}

}  // namespace
}  // namespace parkd::cuda
