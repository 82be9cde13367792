// The emulated runtime: streams, events, graphs, memory, errors and the reference products.
#include <cublasLt.h>
#include <cublas_v2.h>
#include <gtest/gtest.h>

#include <atomic>
#include <numeric>
#include <thread>

#include "testing.h"
#include "tests/cuda/device_test.h"
#include "tests/cuda_emulator/plain_kernels.h"

namespace parkd::testing {
namespace {

class Runtime : public DeviceTest {
 protected:
  ~Runtime() override { cuda_emulator::reset(); }
};

cudaStream_t make_stream() {
  cudaStream_t stream = nullptr;
  require(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreate");
  return stream;
}

cudaEvent_t make_event() {
  cudaEvent_t event = nullptr;
  require(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "cudaEventCreate");
  return event;
}

TEST_F(Runtime, kernels_run_with_every_thread_of_every_block) {
  std::vector<float> in(1000);
  std::iota(in.begin(), in.end(), 1.0F);
  const auto device = upload(in);
  const auto sum = allocate<float>(1);
  ASSERT_EQ(launch_add(device.get(), device.get(), device.get(), 1000, stream()), cudaSuccess);
  ASSERT_EQ(launch_sum(device.get(), sum.get(), 1000, stream()), cudaSuccess);
  EXPECT_EQ(download(sum)[0], 1001000.0F);
}

TEST_F(Runtime, atomics_count_right_in_shared_and_device_memory) {
  std::vector<uint8_t> bytes(5000);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i % 7);
  const auto in = upload(bytes);
  const auto counts = upload(std::vector<int32_t>(256));
  ASSERT_EQ(launch_histogram(in.get(), counts.get(), 5000, stream()), cudaSuccess);
  const auto result = download(counts);
  EXPECT_EQ(result[0], 715);
  EXPECT_EQ(result[6], 714);
  EXPECT_EQ(result[7], 0);
}

// What the launches of `launch` asked of device memory.
template <class Launch>
std::vector<cuda_emulator::Traffic> traffic_of(cudaStream_t stream, Launch launch) {
  cuda_emulator::start_traffic();
  require(launch(), "launch");
  require(cudaStreamSynchronize(stream), "the stream's work");
  return cuda_emulator::stop_traffic();
}

TEST_F(Runtime, traffic_is_bytes_and_sectors_of_each_warps_accesses) {
  constexpr int32_t n = 256;  // eight warps, two blocks
  const auto in = upload(std::vector<float>(8 * n));
  const auto addend = upload(std::vector<float>(n));
  const auto out = allocate<float>(n);
  const auto added = traffic_of(
      stream(), [&] { return launch_add(in.get(), addend.get(), out.get(), n, stream()); });
  if (std::string_view(CUDA_EMULATOR_BUILD) != "race") {
    EXPECT_TRUE(added.empty());
    return;
  }
  ASSERT_EQ(added.size(), 1U);
  EXPECT_EQ(added[0].bytes_read, 8U * n);
  EXPECT_EQ(added[0].bytes_written, 4U * n);
  EXPECT_EQ(added[0].sectors, 3U * n / 8);
  EXPECT_EQ(added[0].memory_bytes, 12U * n);

  const auto copy = [&](int32_t stride) {
    return traffic_of(stream(),
                      [&] { return launch_strided_copy(in.get(), out.get(), n, stride, stream()); })
        .at(0);
  };
  const auto apart = copy(8);  // a sector a lane
  EXPECT_EQ(apart.bytes_read, 4U * n);
  EXPECT_EQ(apart.sectors, n + n / 8U);
  EXPECT_EQ(apart.memory_bytes, 32U * n + 4 * n);
  const auto same = copy(0);  // the lanes of a warp share one float
  EXPECT_EQ(same.bytes_read, 4U * n / 32);
  EXPECT_EQ(same.sectors, n / 32U + n / 8);
  EXPECT_EQ(same.memory_bytes, 32U + 4 * n);
}

TEST_F(Runtime, traffic_is_of_device_memory_alone_and_follows_loops) {
  if (std::string_view(CUDA_EMULATOR_BUILD) != "race") GTEST_SKIP() << "the race build counts";
  const auto in = upload(std::vector<float>(1000));
  const auto out = allocate<float>(1);
  const auto sum =
      traffic_of(stream(), [&] { return launch_sum(in.get(), out.get(), 1000, stream()); }).at(0);
  EXPECT_EQ(sum.bytes_read, 4000U);  // the warps' sums are in shared memory
  EXPECT_EQ(sum.bytes_written, 4U);
  EXPECT_EQ(sum.sectors, 126U);

  const auto bytes = upload(std::vector<uint8_t>(256));
  const auto counts = upload(std::vector<int32_t>(256));
  const auto histogram = traffic_of(stream(), [&] {
                           return launch_histogram(bytes.get(), counts.get(), 256, stream());
                         }).at(0);
  EXPECT_EQ(histogram.bytes_read, 256U);
  EXPECT_EQ(histogram.bytes_written, 2 * 4U);  // each block adds to counts[0]
}

TEST_F(Runtime, work_waits_until_somebody_does) {
  const auto out = allocate<float>(1);
  ASSERT_EQ(launch_fill(out.get(), 3, 1, stream()), cudaSuccess);
  float seen = 0;
  ASSERT_EQ(cudaMemcpyAsync(&seen, out.get(), 4, cudaMemcpyDeviceToHost, stream()), cudaSuccess);
  EXPECT_EQ(seen, 0.0F);
  finish();
  EXPECT_EQ(seen, 3.0F);
}

TEST_F(Runtime, asking_a_stream_or_an_event_makes_progress) {
  const auto out = allocate<float>(1);
  const cudaEvent_t event = make_event();
  for (int i = 0; i < 5; ++i) ASSERT_EQ(launch_fill(out.get(), 3, 1, stream()), cudaSuccess);
  ASSERT_EQ(cudaEventRecord(event, stream()), cudaSuccess);
  EXPECT_EQ(cudaEventQuery(event), cudaErrorNotReady);
  while (cudaEventQuery(event) == cudaErrorNotReady) {
  }
  EXPECT_EQ(cudaStreamQuery(stream()), cudaSuccess);
  EXPECT_EQ(cudaEventDestroy(event), cudaSuccess);
}

// Copies on one stream what a kernel writes on another, fifty times.
int wrong_answers(cudaStream_t writer, bool waits) {
  const cudaStream_t reader = make_stream();
  const cudaEvent_t written = make_event();
  DeviceArray<float> out(1);
  int n_wrong = 0;
  for (int i = 0; i < 50; ++i) {
    require(launch_fill(out.get(), static_cast<float>(i), 1, writer), "launch");
    require(cudaEventRecord(written, writer), "cudaEventRecord");
    if (waits) require(cudaStreamWaitEvent(reader, written, 0), "cudaStreamWaitEvent");
    float seen = -1;
    require(cudaMemcpyAsync(&seen, out.get(), 4, cudaMemcpyDeviceToHost, reader), "cudaMemcpy");
    require(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    n_wrong += seen == static_cast<float>(i) ? 0 : 1;
  }
  require(cudaEventDestroy(written), "cudaEventDestroy");
  require(cudaStreamDestroy(reader), "cudaStreamDestroy");
  return n_wrong;
}

TEST_F(Runtime, a_missing_wait_between_streams_gives_wrong_answers_and_a_wait_none) {
  EXPECT_GT(wrong_answers(stream(), false), 0);
  EXPECT_EQ(wrong_answers(stream(), true), 0);
}

TEST_F(Runtime, a_graph_replays_what_was_captured_with_its_arguments) {
  const auto in = upload(std::vector<float>{1, 2, 3});
  const auto sum = upload(std::vector<float>(3));
  ASSERT_EQ(cudaStreamBeginCapture(stream(), cudaStreamCaptureModeThreadLocal), cudaSuccess);
  ASSERT_EQ(launch_add(sum.get(), in.get(), sum.get(), 3, stream()), cudaSuccess);
  cudaGraph_t graph = nullptr;
  ASSERT_EQ(cudaStreamEndCapture(stream(), &graph), cudaSuccess);
  cudaGraphExec_t exec = nullptr;
  ASSERT_EQ(cudaGraphInstantiate(&exec, graph, 0), cudaSuccess);
  EXPECT_EQ(download(sum)[2], 0.0F) << "capturing runs nothing";
  for (int i = 0; i < 4; ++i) ASSERT_EQ(cudaGraphLaunch(exec, stream()), cudaSuccess);
  EXPECT_EQ(download(sum), (std::vector<float>{4, 8, 12}));
  EXPECT_EQ(cudaGraphDestroy(graph), cudaSuccess);
  EXPECT_EQ(cudaGraphExecDestroy(exec), cudaSuccess);
}

TEST_F(Runtime, an_updated_graph_has_the_new_arguments_and_other_nodes_are_refused) {
  const auto out = upload(std::vector<float>(1));
  const auto capture = [&](float value, bool copies) {
    require(cudaStreamBeginCapture(stream(), cudaStreamCaptureModeThreadLocal), "begin");
    require(launch_fill(out.get(), value, 1, stream()), "launch");
    if (copies) require(cudaMemsetAsync(out.get(), 0, 4, stream()), "memset");
    cudaGraph_t graph = nullptr;
    require(cudaStreamEndCapture(stream(), &graph), "end");
    return graph;
  };
  const cudaGraph_t first = capture(1, false);
  const cudaGraph_t second = capture(2, false);
  const cudaGraph_t other = capture(3, true);
  cudaGraphExec_t exec = nullptr;
  ASSERT_EQ(cudaGraphInstantiate(&exec, first, 0), cudaSuccess);
  cudaGraphExecUpdateResultInfo result = {};
  EXPECT_EQ(cudaGraphExecUpdate(exec, other, &result), cudaErrorGraphExecUpdateFailure);
  EXPECT_EQ(result.result, cudaGraphExecUpdateErrorTopologyChanged);
  ASSERT_EQ(cudaGraphExecUpdate(exec, second, &result), cudaSuccess);
  ASSERT_EQ(cudaGraphLaunch(exec, stream()), cudaSuccess);
  EXPECT_EQ(download(out)[0], 2.0F);
  for (const cudaGraph_t graph : {first, second, other})
    EXPECT_EQ(cudaGraphDestroy(graph), cudaSuccess);
  EXPECT_EQ(cudaGraphExecDestroy(exec), cudaSuccess);
}

TEST_F(Runtime, waiting_or_allocating_while_capturing_makes_the_capture_invalid) {
  ASSERT_EQ(cudaStreamBeginCapture(stream(), cudaStreamCaptureModeThreadLocal), cudaSuccess);
  void* memory = nullptr;
  EXPECT_EQ(cudaMalloc(&memory, 16), cudaErrorStreamCaptureUnsupported);
  cudaGraph_t graph = nullptr;
  EXPECT_EQ(cudaStreamEndCapture(stream(), &graph), cudaErrorStreamCaptureInvalidated);
  EXPECT_EQ(graph, nullptr);
  ASSERT_EQ(cudaStreamBeginCapture(stream(), cudaStreamCaptureModeThreadLocal), cudaSuccess);
  std::thread other([&] {
    EXPECT_EQ(cudaMalloc(&memory, 16), cudaSuccess) << "another thread's capture is not ours";
    EXPECT_EQ(cudaFree(memory), cudaSuccess);
  });
  other.join();
  ASSERT_EQ(cudaStreamEndCapture(stream(), &graph), cudaSuccess);
  EXPECT_EQ(cudaGraphDestroy(graph), cudaSuccess);
}

TEST_F(Runtime, copies_outside_an_allocation_lose_the_device_with_a_message) {
  const auto array = allocate<float>(4);
  const std::vector<float> host(8);
  ASSERT_EQ(cudaMemcpyAsync(array.get(), host.data(), 32, cudaMemcpyHostToDevice, stream()),
            cudaSuccess);
  EXPECT_EQ(cudaStreamSynchronize(stream()), cudaErrorLaunchFailure);
  EXPECT_NE(cuda_emulator::last_failure().find("32 bytes at offset 0 of an allocation of 16"),
            std::string::npos)
      << cuda_emulator::last_failure();
}

TEST_F(Runtime, copies_from_memory_of_the_wrong_side_are_found) {
  std::vector<float> host(4);
  ASSERT_EQ(cudaMemcpyAsync(host.data(), host.data(), 4, cudaMemcpyDeviceToHost, stream()),
            cudaSuccess);
  EXPECT_EQ(cudaStreamSynchronize(stream()), cudaErrorLaunchFailure);
  EXPECT_NE(cuda_emulator::last_failure().find("not device memory"), std::string::npos);
}

TEST_F(Runtime, memory_is_used_on_another_stream_only_after_its_allocation_ran) {
  const cudaStream_t other = make_stream();
  void* memory = nullptr;
  ASSERT_EQ(cudaMallocAsync(&memory, 16, other), cudaSuccess);
  ASSERT_EQ(cudaMemsetAsync(memory, 0, 16, other), cudaSuccess);
  ASSERT_EQ(cudaStreamSynchronize(other), cudaSuccess);
  void* too_early = nullptr;
  ASSERT_EQ(cudaMallocAsync(&too_early, 16, other), cudaSuccess);
  const auto check = cudaMemsetAsync(too_early, 0, 16, stream());
  ASSERT_EQ(check, cudaSuccess);
  // Which stream runs first is chance; the message, when it comes, is this one.
  if (cudaStreamSynchronize(stream()) != cudaSuccess) {
    EXPECT_NE(cuda_emulator::last_failure().find("has not run on its stream"), std::string::npos);
  }
  cuda_emulator::reset();
  EXPECT_EQ(cudaStreamDestroy(other), cudaSuccess);
}

TEST_F(Runtime, memory_is_counted_and_runs_out) {
  cuda_emulator::set_device_memory(1 << 20);
  const size_t before = cuda_emulator::device_memory_used();
  void* memory = nullptr;
  ASSERT_EQ(cudaMallocAsync(&memory, 600 << 10, stream()), cudaSuccess);
  size_t free_bytes = 0;
  size_t total_bytes = 0;
  ASSERT_EQ(cudaMemGetInfo(&free_bytes, &total_bytes), cudaSuccess);
  EXPECT_EQ(total_bytes, size_t{1} << 20);
  EXPECT_EQ(free_bytes, total_bytes - before - (600 << 10));
  void* more = nullptr;
  EXPECT_EQ(cudaMallocAsync(&more, 600 << 10, stream()), cudaErrorMemoryAllocation);
  ASSERT_EQ(cudaFreeAsync(memory, stream()), cudaSuccess);
  EXPECT_EQ(cudaMallocAsync(&more, 600 << 10, stream()), cudaSuccess) << "freed in stream order";
  EXPECT_EQ(cudaFreeAsync(more, stream()), cudaSuccess);
  finish();
  EXPECT_EQ(cuda_emulator::device_memory_used(), before);
  ASSERT_EQ(cudaMemGetInfo(&free_bytes, &total_bytes), cudaSuccess);
  EXPECT_EQ(free_bytes, total_bytes - before - (600 << 10)) << "the pool keeps what was freed";
  EXPECT_EQ(cudaMalloc(&more, 600 << 10), cudaErrorMemoryAllocation);
  cudaMemPool_t pool = nullptr;
  ASSERT_EQ(cudaDeviceGetDefaultMemPool(&pool, 0), cudaSuccess);
  ASSERT_EQ(cudaMemPoolTrimTo(pool, 0), cudaSuccess);
  ASSERT_EQ(cudaMemGetInfo(&free_bytes, &total_bytes), cudaSuccess);
  EXPECT_EQ(free_bytes, total_bytes - before);
  cuda_emulator::set_device_memory(size_t{8} << 30);
}

TEST_F(Runtime, an_injected_device_error_sticks_until_reset) {
  const auto out = allocate<float>(1);
  cuda_emulator::inject_error(2, cudaErrorECCUncorrectable);
  EXPECT_EQ(launch_fill(out.get(), 1, 1, stream()), cudaSuccess);
  EXPECT_EQ(launch_fill(out.get(), 1, 1, stream()), cudaErrorECCUncorrectable);
  EXPECT_EQ(cudaStreamSynchronize(stream()), cudaErrorECCUncorrectable);
  EXPECT_EQ(cudaGetLastError(), cudaErrorECCUncorrectable);
  EXPECT_EQ(cudaGetLastError(), cudaErrorECCUncorrectable) << "sticky";
  cuda_emulator::reset();
  EXPECT_EQ(cudaStreamSynchronize(stream()), cudaSuccess);
}

TEST_F(Runtime, other_errors_are_forgotten_once_asked_for) {
  EXPECT_EQ(launch_fill(nullptr, 1, 0, stream()), cudaErrorInvalidConfiguration);
  EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidConfiguration);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
}

TEST_F(Runtime, without_a_device_every_call_says_so) {
  cuda_emulator::set_device_count(0);
  int n = -1;
  EXPECT_EQ(cudaGetDeviceCount(&n), cudaErrorNoDevice);
  EXPECT_EQ(n, 0);
  void* memory = nullptr;
  EXPECT_EQ(cudaMalloc(&memory, 16), cudaErrorNoDevice);
  cuda_emulator::set_device_count(1);
}

TEST_F(Runtime, a_stream_of_another_device_is_refused) {
  cuda_emulator::set_device_count(2);
  ASSERT_EQ(cudaSetDevice(1), cudaSuccess);
  const auto out = allocate<float>(1);
  EXPECT_EQ(launch_fill(out.get(), 1, 1, stream()), cudaErrorInvalidResourceHandle);
  EXPECT_EQ(cudaSetDevice(2), cudaErrorInvalidDevice);
  ASSERT_EQ(cudaSetDevice(0), cudaSuccess);
  EXPECT_EQ(launch_fill(out.get(), 1, 1, stream()), cudaSuccess);
  finish();
  cuda_emulator::set_device_count(1);
}

TEST_F(Runtime, several_threads_drive_their_streams_at_once) {
  std::atomic<int> n_wrong = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&n_wrong, t] {
      const cudaStream_t mine = make_stream();
      DeviceArray<float> values(300);
      DeviceArray<float> sum(1);
      for (int round = 0; round < 20; ++round) {
        require(launch_fill(values.get(), static_cast<float>(t + round), 300, mine), "fill");
        require(launch_sum(values.get(), sum.get(), 300, mine), "sum");
        float seen = -1;
        require(cudaMemcpyAsync(&seen, sum.get(), 4, cudaMemcpyDeviceToHost, mine), "copy");
        require(cudaStreamSynchronize(mine), "synchronize");
        n_wrong += seen == static_cast<float>(300 * (t + round)) ? 0 : 1;
      }
      require(cudaStreamDestroy(mine), "cudaStreamDestroy");
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(n_wrong, 0);
}

TEST_F(Runtime, host_functions_run_in_order_and_may_not_call_cuda) {
  struct Seen {
    float* out;
    cudaError_t error = cudaSuccess;
  } seen;
  const auto out = allocate<float>(1);
  seen.out = out.get();
  ASSERT_EQ(launch_fill(out.get(), 7, 1, stream()), cudaSuccess);
  ASSERT_EQ(
      cudaLaunchHostFunc(
          stream(), [](void* data) { static_cast<Seen*>(data)->error = cudaDeviceSynchronize(); },
          &seen),
      cudaSuccess);
  finish();
  EXPECT_EQ(seen.error, cudaErrorNotPermitted);
}

TEST_F(Runtime, gemm_multiplies_what_cublas_calls_column_major) {
  // weight (2, 3) times rows (4, 3), as lib/backend/cuda/cublas.cc asks for it.
  const auto weight = upload(std::vector<float>{1, 2, 3, 4, 5, 6});
  const auto in = upload(std::vector<float>{1, 0, 0, 0, 1, 0, 0, 0, 1, 1, 1, 1});
  const auto out = allocate<float>(8);
  cublasHandle_t handle = nullptr;
  ASSERT_EQ(cublasCreate(&handle), CUBLAS_STATUS_SUCCESS);
  ASSERT_EQ(cublasSetStream(handle, stream()), CUBLAS_STATUS_SUCCESS);
  const float one = 1;
  const float zero = 0;
  const auto multiply = [&](const float* beta, int ldb) {
    return cublasGemmEx(handle, CUBLAS_OP_T, CUBLAS_OP_N, 2, 4, 3, &one, weight.get(), CUDA_R_32F,
                        3, in.get(), CUDA_R_32F, ldb, beta, out.get(), CUDA_R_32F, 2,
                        CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT);
  };
  ASSERT_EQ(multiply(&zero, 3), CUBLAS_STATUS_SUCCESS);
  const std::vector<float> expected = {1, 4, 2, 5, 3, 6, 6, 15};
  EXPECT_EQ(download(out), expected) << "beta 0 does not read the old NaN";
  ASSERT_EQ(multiply(&one, 3), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(download(out)[7], 30.0F);
  EXPECT_EQ(multiply(&one, 2), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(cublasDestroy(handle), CUBLAS_STATUS_SUCCESS);
}

TEST_F(Runtime, cublas_lt_gives_the_same_product) {
  const auto weight = upload(std::vector<float>{1, 2, 3, 4, 5, 6});
  const auto in = upload(std::vector<float>{1, 0, 0, 1, 1, 1});
  const auto out = allocate<float>(4);
  cublasLtHandle_t handle = nullptr;
  cublasLtMatmulDesc_t description = nullptr;
  ASSERT_EQ(cublasLtCreate(&handle), CUBLAS_STATUS_SUCCESS);
  ASSERT_EQ(cublasLtMatmulDescCreate(&description, CUBLAS_COMPUTE_32F, CUDA_R_32F),
            CUBLAS_STATUS_SUCCESS);
  const cublasOperation_t transpose = CUBLAS_OP_T;
  ASSERT_EQ(cublasLtMatmulDescSetAttribute(description, CUBLASLT_MATMUL_DESC_TRANSA, &transpose,
                                           sizeof(transpose)),
            CUBLAS_STATUS_SUCCESS);
  cublasLtMatrixLayout_t a = nullptr;
  cublasLtMatrixLayout_t b = nullptr;
  cublasLtMatrixLayout_t c = nullptr;
  ASSERT_EQ(cublasLtMatrixLayoutCreate(&a, CUDA_R_32F, 3, 2, 3), CUBLAS_STATUS_SUCCESS);
  ASSERT_EQ(cublasLtMatrixLayoutCreate(&b, CUDA_R_32F, 3, 2, 3), CUBLAS_STATUS_SUCCESS);
  ASSERT_EQ(cublasLtMatrixLayoutCreate(&c, CUDA_R_32F, 2, 2, 2), CUBLAS_STATUS_SUCCESS);
  cublasLtMatmulHeuristicResult_t found = {};
  int n_found = 0;
  ASSERT_EQ(
      cublasLtMatmulAlgoGetHeuristic(handle, description, a, b, c, c, nullptr, 1, &found, &n_found),
      CUBLAS_STATUS_SUCCESS);
  ASSERT_EQ(n_found, 1);
  EXPECT_EQ(
      cublasLtMatmulAlgoGetHeuristic(handle, description, a, b, c, a, nullptr, 1, &found, &n_found),
      CUBLAS_STATUS_INVALID_VALUE)
      << "shapes that do not fit together";
  const float one = 1;
  const float zero = 0;
  ASSERT_EQ(cublasLtMatmul(handle, description, &one, weight.get(), a, in.get(), b, &zero,
                           out.get(), c, out.get(), c, &found.algo, nullptr, 0, stream()),
            CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(download(out), (std::vector<float>{1, 4, 6, 15}));
  for (const cublasLtMatrixLayout_t layout : {a, b, c}) {
    EXPECT_EQ(cublasLtMatrixLayoutDestroy(layout), CUBLAS_STATUS_SUCCESS);
  }
  EXPECT_EQ(cublasLtMatmulDescDestroy(description), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(cublasLtDestroy(handle), CUBLAS_STATUS_SUCCESS);
}

TEST_F(Runtime, tensor_core_twins_multiply) {
  std::mt19937_64 random(fresh_device_seed());
  std::vector<__nv_bfloat16> a(256);
  std::vector<__nv_bfloat16> b(256);
  // Small integers: every sum is exact.
  const auto draw = [&] { return static_cast<float>(static_cast<int>(random() % 17) - 8); };
  for (auto& x : a) x = __float2bfloat16_rn(draw());
  for (auto& x : b) x = __float2bfloat16_rn(draw());
  const auto device_a = upload(a);
  const auto device_b = upload(b);
  for (const bool with_wmma : {false, true}) {
    const auto out = allocate<float>(256);
    ASSERT_EQ(launch_tile_product(with_wmma, device_a.get(), device_b.get(), out.get(), stream()),
              cudaSuccess);
    const auto seen = download(out);
    for (size_t i = 0; i < 16; ++i) {
      for (size_t j = 0; j < 16; ++j) {
        float expected = 0;
        for (size_t k = 0; k < 16; ++k) {
          expected += __bfloat162float(a[i * 16 + k]) * __bfloat162float(b[j * 16 + k]);
        }
        ASSERT_EQ(seen[i * 16 + j], expected) << i << "," << j << " wmma " << with_wmma;
      }
    }
  }
}

}  // namespace
}  // namespace parkd::testing
