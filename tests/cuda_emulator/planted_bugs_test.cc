// The matrix of planted bugs: which build of the emulator finds which bug, in which order of
// threads. A bug that a build cannot see is said so here too: the matrix is what the builds are
// for.
#include "tests/cuda_emulator/planted_bugs.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <string_view>

#include "testing.h"
#include "tests/cuda/device_test.h"

namespace parkd::testing {
namespace {

using Numbers = std::vector<double>;

enum class Kernel { square_sum, swap_fours, two_histograms, swap_neighbours, half_warp_sums };

Numbers widened(const std::vector<float>& values) {
  return {values.begin(), values.end()};
}

std::vector<float> numbers_from_1(size_t n) {
  std::vector<float> values(n);
  for (size_t i = 0; i < n; ++i) values[i] = static_cast<float>(i + 1);
  return values;
}

class PlantedBugs : public DeviceTest {
 protected:
  ~PlantedBugs() override { cuda_emulator::reset(); }

  // Throws when the device is lost.
  Numbers run(Kernel kernel, Plant plant) {
    if (kernel == Kernel::two_histograms) {
      const auto in = upload(bytes_);
      const auto counts = allocate<int32_t>(128);
      require(launch_two_histograms(plant, in.get(), counts.get(), stream()), "launch");
      const auto result = download(counts);
      return {result.begin(), result.end()};
    }
    const size_t n = kernel == Kernel::swap_fours ? 4 * kPlantThreads : kPlantThreads;
    const auto in = upload(numbers_from_1(n));
    const auto out = allocate<float>(n);
    require(launch(kernel, plant, in.get(), out.get()), "launch");
    return widened(download(out));
  }

  Numbers expected(Kernel kernel) const {
    const Numbers in = widened(numbers_from_1(4 * kPlantThreads));
    Numbers out;
    switch (kernel) {
      case Kernel::square_sum:
        out.assign(kPlantThreads,
                   kPlantThreads * (kPlantThreads + 1) * (2 * kPlantThreads + 1) / 6);
        break;
      case Kernel::swap_fours:
        for (size_t i = 0; i < 4 * kPlantThreads; ++i) out.push_back(in[i ^ 4]);
        break;
      case Kernel::swap_neighbours:
        for (size_t i = 0; i < kPlantThreads; ++i) out.push_back(in[i ^ 1]);
        break;
      case Kernel::half_warp_sums:
        for (size_t i = 0; i < kPlantThreads; ++i) {
          const auto first = static_cast<double>(i & ~size_t{15});
          out.push_back(16 * first + 16 * 17 / 2);
        }
        break;
      case Kernel::two_histograms:
        out.resize(128);
        for (size_t i = 0; i < bytes_.size(); ++i)
          out[i / kPlantThreads * 64 + bytes_[i] % 64] += 1;
        break;
    }
    return out;
  }

  // "right", "wrong answer", or what the runtime says.
  std::string outcome(Kernel kernel, Plant plant) {
    try {
      return run(kernel, plant) == expected(kernel) ? "right" : "wrong answer";
    } catch (const std::runtime_error& error) {
      cuda_emulator::reset();
      return error.what();
    }
  }

 private:
  cudaError_t launch(Kernel kernel, Plant plant, const float* in, float* out) const {
    switch (kernel) {
      case Kernel::square_sum:
        return launch_square_sum(plant, in, out, stream());
      case Kernel::swap_fours:
        return launch_swap_fours(plant, in, out, stream());
      case Kernel::swap_neighbours:
        return launch_swap_neighbours(plant, in, out, stream());
      case Kernel::half_warp_sums:
        return launch_half_warp_sums(plant, in, out, stream());
      case Kernel::two_histograms:
        break;
    }
    return cudaErrorInvalidValue;
  }

  std::vector<uint8_t> bytes_ = [] {
    std::vector<uint8_t> bytes(2 * kPlantThreads);
    for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i * i * 7 + i / 3);
    return bytes;
  }();
};

// What a build says to a bug: a part of outcome(), or of what a sanitizer prints when it stops the
// program ("dies: ..."). nullptr: it depends on the host's instructions.
struct Row {
  const char* name;
  Kernel kernel;
  Plant plant;
  const char* plain;
  const char* asan;
  const char* race;
  const char* plain_forward = nullptr;  // where forward order differs
  const char* asan_forward = nullptr;
};

constexpr const char* kWrong = "wrong answer";
constexpr const char* kRight = "right";

// A read before the write gives the array's first NaN; without a race detector that is all to see.
const std::vector<Row>& matrix() {
  static const std::vector<Row> rows = {
      {"shared_index_beyond_array", Kernel::square_sum, Plant::shared_index_beyond_array, kWrong,
       "dies: index 4 out of bounds", "outside of the block's shared arrays"},
      {"dynamic_shared_beyond_end", Kernel::swap_fours, Plant::dynamic_shared_beyond_end, kWrong,
       "dies: use-after-poison", "outside of the block's shared arrays"},
      {"no_barrier_before_reading", Kernel::square_sum, Plant::no_barrier_before_reading, kWrong,
       kWrong, "race in shared memory: a "},
      {"no_barrier_before_reuse", Kernel::two_histograms, Plant::no_barrier_before_reuse, kWrong,
       kWrong, "race in shared memory", kRight, kRight},
      {"barrier_in_a_branch", Kernel::square_sum, Plant::barrier_in_a_branch, "__syncthreads",
       "__syncthreads", ""},
      {"barrier_at_two_places", Kernel::square_sum, Plant::barrier_at_two_places,
       "divergent barrier", "divergent barrier", "divergent barrier"},
      {"thread_ends_before_barrier", Kernel::square_sum, Plant::thread_ends_before_barrier,
       "__syncthreads", "__syncthreads", "__syncthreads"},
      {"shuffle_in_half_a_warp", Kernel::half_warp_sums, Plant::shuffle_in_half_a_warp,
       "__shfl_xor_sync", "__shfl_xor_sync", "__shfl_xor_sync"},
      {"shuffle_from_outside_mask", Kernel::half_warp_sums, Plant::shuffle_from_outside_mask,
       "which is not in mask", "which is not in mask", "which is not in mask"},
      {"overlapping_masks", Kernel::half_warp_sums, Plant::overlapping_masks, "__shfl_xor_sync",
       "__shfl_xor_sync", "__shfl_xor_sync"},
      {"no_syncwarp", Kernel::swap_neighbours, Plant::no_syncwarp, kWrong, kWrong,
       "race in shared memory: a "},
      {"syncwarp_of_other_lanes", Kernel::swap_neighbours, Plant::syncwarp_of_other_lanes, kWrong,
       kWrong, "race in shared memory: a "},
      {"misaligned_load", Kernel::swap_fours, Plant::misaligned_load, nullptr,
       "dies: misaligned address", nullptr},
      {"global_index_beyond_end", Kernel::square_sum, Plant::global_index_beyond_end, kWrong,
       "dies: heap-buffer-overflow", kWrong},
  };
  return rows;
}

bool is_forward() {
  const char* order = std::getenv("PARKD_CUDA_ORDER");
  return order == nullptr || std::string_view(order) == "forward";
}

const char* expected_outcome(const Row& row) {
  const std::string_view build = CUDA_EMULATOR_BUILD;
  if (build == "race") return row.race;
  if (build == "asan") {
    return is_forward() && row.asan_forward != nullptr ? row.asan_forward : row.asan;
  }
  return is_forward() && row.plain_forward != nullptr ? row.plain_forward : row.plain;
}

TEST_F(PlantedBugs, each_build_finds_what_the_matrix_says) {
  constexpr std::string_view kDies = "dies: ";
  for (const Row& row : matrix()) {
    SCOPED_TRACE(row.name);
    if (expected_outcome(row) == nullptr) continue;
    const std::string_view expected_text = expected_outcome(row);
    if (expected_text.substr(0, kDies.size()) == kDies) {
      const std::string message(expected_text.substr(kDies.size()));
      EXPECT_DEATH((void)outcome(row.kernel, row.plant), message);
      continue;
    }
    const std::string seen = outcome(row.kernel, row.plant);
    std::cout << row.name << ": " << seen << "\n";
    EXPECT_NE(seen.find(expected_text), std::string::npos) << "expected: " << expected_text;
    EXPECT_EQ(seen == kRight, expected_text == kRight);
  }
}

TEST_F(PlantedBugs, correct_twins_are_right_in_every_build_and_order) {
  for (const Kernel kernel : {Kernel::square_sum, Kernel::swap_fours, Kernel::two_histograms,
                              Kernel::swap_neighbours, Kernel::half_warp_sums}) {
    EXPECT_EQ(outcome(kernel, Plant::none), kRight) << static_cast<int>(kernel);
  }
}

TEST_F(PlantedBugs, messages_name_kernel_block_thread_and_line) {
  const std::string seen = outcome(Kernel::half_warp_sums, Plant::shuffle_in_half_a_warp);
  EXPECT_NE(seen.find("kernel launched at "), std::string::npos) << seen;
  EXPECT_NE(seen.find("planted_bugs.cu:"), std::string::npos) << seen;
  EXPECT_NE(seen.find("block (0,0,0), thread ("), std::string::npos) << seen;
  EXPECT_NE(seen.find("device.h:"), std::string::npos) << seen;
}

TEST_F(PlantedBugs, launches_beyond_the_device_are_refused) {
  const auto out = allocate<float>(1);
  cudaLaunchConfig_t config = {};
  void (*kernel)(float*) = [](float* to) { to[0] = 1; };
  const auto answer = [&](unsigned grid_y, unsigned threads, size_t dynamic) {
    config.gridDim = dim3(1, grid_y);
    config.blockDim = dim3(threads);
    config.dynamicSmemBytes = dynamic;
    config.stream = stream();
    return cudaLaunchKernelEx(&config, kernel, out.get());
  };
  EXPECT_EQ(answer(1, 1025, 0), cudaErrorInvalidConfiguration);
  EXPECT_EQ(answer(1, 0, 0), cudaErrorInvalidConfiguration);
  EXPECT_EQ(answer(65536, 32, 0), cudaErrorInvalidConfiguration);
  EXPECT_EQ(answer(1, 32, (48 << 10) + 1), cudaErrorInvalidValue);
  EXPECT_EQ(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 64 << 10),
            cudaSuccess);
  EXPECT_EQ(answer(1, 32, 64 << 10), cudaSuccess);
  EXPECT_EQ(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 164 << 10),
            cudaErrorInvalidValue);
  EXPECT_EQ(answer(65535, 1024, 0), cudaSuccess);
  finish();
}

// Free on a stream that does not wait for the one that still works on the memory.
void use_after_free(cudaStream_t user) {
  cudaStream_t freeing = nullptr;
  require(cudaStreamCreateWithFlags(&freeing, cudaStreamNonBlocking), "cudaStreamCreate");
  for (int i = 0; i < 20; ++i) {
    void* memory = nullptr;
    require(cudaMallocAsync(&memory, 4096, user), "cudaMallocAsync");
    require(cudaStreamSynchronize(user), "allocation");
    require(launch_square_sum(Plant::none, static_cast<const float*>(memory),
                              static_cast<float*>(memory), user),
            "launch");
    require(cudaFreeAsync(memory, freeing), "cudaFreeAsync");
    require(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  }
}

TEST_F(PlantedBugs, freeing_on_another_stream_is_found_by_asan) {
  if (std::string_view(CUDA_EMULATOR_BUILD) == "asan") {
    EXPECT_DEATH(use_after_free(stream()), "heap-use-after-free");
  } else {
    GTEST_SKIP() << "only AddressSanitizer sees it";
  }
}

}  // namespace
}  // namespace parkd::testing
