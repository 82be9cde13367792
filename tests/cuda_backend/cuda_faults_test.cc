// Calls of the runtime and of cuBLAS that fail, each with each kind of error: what ends nobody's
// job, what ends the jobs of one step, and what is a lost device.
#include <cublas_v2.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <iostream>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "lib/backend/cuda/cuda_errors.h"
#include "testing.h"
#include "tests/cuda_backend/cuda_rig.h"
#include "tests/cuda_backend/emulated_cublas.h"

namespace parkd {
namespace {

using cuda_emulator::Fault;
using testing::CudaWay;
using testing::EngineRunner;
using testing::is_sanitized;
using testing::on_cpu;
using testing::on_cuda;
using testing::printed_seed;
using testing::random_prompt;
using testing::tiny_card;
using testing::tokens_of;

using Calls = std::map<std::string, int64_t>;

constexpr CudaWay warm(const char* name, int32_t n_workers) {
  CudaWay way{name, n_workers};
  way.warms_up = true;
  return way;
}
constexpr CudaWay kOne = warm("one", 1);
constexpr int64_t kForEver = int64_t{1} << 40;
constexpr int64_t kBuckets = 6;  // of the eight sequences that engine_options() allows

// Recoverable all: what captures, launches, handles and shapes give.
constexpr cudaError_t kRuntimeErrors[] = {cudaErrorStreamCaptureInvalidated,
                                          cudaErrorStreamCaptureUnsupported,
                                          cudaErrorLaunchOutOfResources,
                                          cudaErrorInvalidValue,
                                          cudaErrorNotSupported,
                                          cudaErrorInvalidResourceHandle};
constexpr cublasStatus_t kCublasErrors[] = {
    CUBLAS_STATUS_NOT_SUPPORTED, CUBLAS_STATUS_EXECUTION_FAILED, CUBLAS_STATUS_INTERNAL_ERROR,
    CUBLAS_STATUS_INVALID_VALUE, CUBLAS_STATUS_NOT_INITIALIZED};

bool is_of_cublas(const std::string& call) {
  return call.rfind("cublas", 0) == 0;
}

std::vector<int> recoverable_errors(const std::string& call) {
  if (is_of_cublas(call)) return {std::begin(kCublasErrors), std::end(kCublasErrors)};
  return {std::begin(kRuntimeErrors), std::end(kRuntimeErrors)};
}

// Its failure is nobody's: what frees, and the question whether a stream captures, which the lane
// asks when all is lost and the rig asks of every product.
bool is_ignored(const std::string& call) {
  return call == "cudaFreeAsync" || call == "cudaFreeHost" || call == "cudaGraphDestroy" ||
         call == "cudaGraphExecDestroy" || call == "cudaStreamIsCapturing";
}

class CudaFaults : public ::testing::Test {
 protected:
  CudaFaults() : random_(printed_seed()) {
    // A prompt over two blocks; penalties, choices, log-probabilities: every way a step can end.
    for (const int32_t n_prompt : {3, 34, 10}) {
      GenerationRequest request;
      request.id = requests_.size() + 1;
      request.prompts[0].tokens = random_prompt(random_, *card_, n_prompt);
      request.prompts[0].max_new_tokens = 5;
      request.sampling.temperature = request.id == 2 ? 0.9F : 0.0F;
      request.sampling.seed = random_();
      request.sampling.logprobs = request.id == 1;
      request.sampling.top_logprobs = request.id == 1 ? 3 : 0;
      request.sampling.frequency_penalty = request.id == 3 ? 1.0F : 0.0F;
      requests_.push_back(std::move(request));
    }
    expected_ = tokens_of(on_cpu(card_, Dtype::f32)->run(requests_));
  }
  ~CudaFaults() override { cuda_emulator::reset(); }

  std::unique_ptr<EngineRunner> load(const CudaWay& way = kOne) {
    return on_cuda(card_, Dtype::f32, way);
  }

  // The calls that a run makes, without those of loading.
  Calls calls_of_a_run() {
    const auto runner = load();
    const Calls before = cuda_emulator::n_calls_by_name();
    EXPECT_EQ(tokens_of(runner->run(requests_)), expected_);
    Calls calls;
    for (const auto& [call, n] : cuda_emulator::n_calls_by_name()) {
      const auto found = before.find(call);
      const int64_t n_run = n - (found == before.end() ? 0 : found->second);
      if (n_run > 0) calls[call] = n_run;
    }
    return calls;
  }

  std::vector<GenerationResult> run_with(EngineRunner& runner, const Fault& fault) {
    cuda_emulator::inject(fault);
    auto results = runner.run(requests_);
    cuda_emulator::inject_nothing();
    return results;
  }

  const std::shared_ptr<const ModelCard> card_ = tiny_card(TensorType::q4_1);
  std::mt19937_64 random_;
  std::vector<GenerationRequest> requests_;
  std::vector<std::vector<TokenId>> expected_;
};

// The table: call, which of its calls, code. Some of the codes, others each time, at the first call
// of a name, and one at any; on an engine that has met all before, or has all its graphs.
TEST_F(CudaFaults, every_call_may_fail_with_every_error_that_leaves_the_device) {
  const Calls calls = calls_of_a_run();
  const auto used = load();
  int n_faults = 0;
  const auto expect_harmless = [&](EngineRunner& runner, const Fault& fault) {
    SCOPED_TRACE(fault.call + " number " + std::to_string(fault.n) + " answers " +
                 std::to_string(fault.code));
    ++n_faults;
    const int64_t before = runner.engine().stats().steps_repeated;
    EXPECT_EQ(tokens_of(run_with(runner, fault)), expected_);
    EXPECT_EQ(runner.engine().stats().steps_failed, 0);
    const int64_t n_repeated = runner.engine().stats().steps_repeated - before;
    EXPECT_LE(n_repeated, 1);
    return n_repeated;
  };
  for (const auto& [call, n_calls] : calls) {
    std::vector<int> codes = recoverable_errors(call);
    std::shuffle(codes.begin(), codes.end(), random_);
    codes.resize(is_sanitized() ? 1 : 3);
    const bool is_made_once = call == "cudaGraphLaunch";
    for (const int code : codes) {
      const auto fresh = is_made_once ? load() : nullptr;
      const int64_t n_repeated = expect_harmless(is_made_once ? *fresh : *used, {call, 1, code});
      EXPECT_TRUE(n_repeated == 1 || is_ignored(call)) << "nobody saw it";
    }
    const int code = codes[random_() % codes.size()];
    (void)expect_harmless(*used, {call, 1 + static_cast<int64_t>(random_() % n_calls), code});
  }
  EXPECT_EQ(tokens_of(used->run(requests_)), expected_);
  std::cout << n_faults << " faults of " << calls.size() << " calls\n";
  for (const char* call : {"cudaSetDevice", "cudaMemcpyAsync", "cudaLaunchKernelEx", "cublasGemmEx",
                           "cudaGraphLaunch", "cudaEventRecord", "cudaEventSynchronize"}) {
    EXPECT_EQ(calls.count(call), 1U) << call;
  }
}

// As above by the number of the call alone, on two streams.
TEST_F(CudaFaults, whichever_call_fails_two_workers_give_the_tokens_of_the_cpu) {
  constexpr CudaWay two = warm("two_workers", 2);
  const int64_t before = cuda_emulator::n_calls();
  int64_t n_calls = 0;
  {
    const auto runner = load(two);
    const int64_t loaded = cuda_emulator::n_calls();
    EXPECT_GT(loaded, before);
    EXPECT_EQ(tokens_of(runner->run(requests_)), expected_);
    n_calls = cuda_emulator::n_calls() - loaded;
  }
  const auto runner = load(two);
  for (int round = 0; round < (is_sanitized() ? 4 : 12); ++round) {
    const int64_t n = 1 + static_cast<int64_t>(random_() % n_calls);
    const cudaError_t error = kRuntimeErrors[random_() % std::size(kRuntimeErrors)];
    SCOPED_TRACE("call " + std::to_string(n) + " answers " + cudaGetErrorName(error));
    EXPECT_EQ(tokens_of(run_with(*runner, {"", n, error})), expected_);
  }
  EXPECT_EQ(runner->engine().stats().steps_failed, 0);
}

// All that CUDA and its libraries do when something is used the first time has been done.
TEST_F(CudaFaults, nothing_is_cold_on_the_job_path) {
  const int64_t cold = testing::n_products_captured_cold();
  const Calls calls = calls_of_a_run();
  for (const char* call : {"cudaMalloc", "cudaMallocAsync", "cudaMallocHost", "cudaHostAlloc",
                           "cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiate",
                           "cudaStreamCreate", "cudaEventCreateWithFlags", "cudaFuncSetAttribute",
                           "cublasCreate_v2"}) {
    EXPECT_EQ(calls.count(call), 0U) << call;
  }
  EXPECT_GT(calls.at("cudaGraphLaunch"), 0);
  EXPECT_EQ(testing::n_products_captured_cold(), cold);
}

// What fails while a bucket is prepared leaves it without a graph, and the others with theirs.
TEST_F(CudaFaults, a_capture_that_fails_while_loading_costs_its_bucket_the_graph) {
  for (const char* call : {"cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiate",
                           "cudaGraphLaunch"}) {
    std::vector<int> codes = recoverable_errors(call);
    std::shuffle(codes.begin(), codes.end(), random_);
    codes.resize(is_sanitized() ? 1 : 2);
    for (const int code : codes) {
      SCOPED_TRACE(std::string(call) + " answers " + std::to_string(code));
      cuda_emulator::inject({call, 1 + static_cast<int64_t>(random_() % kBuckets), code});
      const auto runner = load();
      cuda_emulator::inject_nothing();
      EXPECT_EQ(tokens_of(runner->run(requests_)), expected_);
      EXPECT_EQ(runner->engine().stats().steps_repeated, 0) << "a job met it";
    }
  }
}

// The bucket is remembered: it is not tried a second time.
TEST_F(CudaFaults, a_device_that_cannot_capture_is_asked_once_a_bucket_and_runs_without_graphs) {
  for (const char* call : {"cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiate",
                           "cudaGraphLaunch"}) {
    SCOPED_TRACE(call);
    const int64_t before = cuda_emulator::n_calls_by_name()[call];
    cuda_emulator::inject({call, 1, cudaErrorNotSupported, kForEver});
    const auto runner = load();
    for (int again = 0; again < 2; ++again) EXPECT_EQ(tokens_of(runner->run(requests_)), expected_);
    EXPECT_EQ(cuda_emulator::n_calls_by_name()[call] - before, kBuckets);
    cuda_emulator::inject_nothing();
    EXPECT_EQ(runner->engine().stats().steps_repeated, 0);
    EXPECT_EQ(runner->engine().stats().steps_failed, 0);
  }
}

// A graph is a thing that one can do without: no job ends for the memory that it wants.
TEST_F(CudaFaults, memory_that_is_short_for_a_graph_ends_no_job) {
  for (const char* call : {"cudaGraphInstantiate", "cudaGraphLaunch"}) {
    SCOPED_TRACE(call);
    const int64_t before = cuda_emulator::n_calls_by_name()[call];
    cuda_emulator::inject({call, 1, cudaErrorMemoryAllocation, kForEver});
    const auto runner = load();
    for (int again = 0; again < 2; ++again) EXPECT_EQ(tokens_of(runner->run(requests_)), expected_);
    EXPECT_EQ(cuda_emulator::n_calls_by_name()[call] - before, 1) << "there is none for the next";
    cuda_emulator::inject_nothing();
  }
}

// The eager run fails too: those jobs end, to be tried again; the lane lives.
TEST_F(CudaFaults, a_step_that_fails_again_ends_its_requests_as_internal_and_the_lane_lives) {
  const Calls calls = calls_of_a_run();
  for (const auto& [call, code] :
       std::map<std::string, int>{{"cublasGemmEx", CUBLAS_STATUS_NOT_SUPPORTED},
                                  {"cudaLaunchKernelEx", cudaErrorLaunchOutOfResources},
                                  {"cudaEventSynchronize", cudaErrorInvalidResourceHandle},
                                  {"cudaMemcpyAsync", cudaErrorInvalidValue}}) {
    for (const int64_t n : {int64_t{1}, calls.at(call) / 2}) {
      SCOPED_TRACE(call + " from number " + std::to_string(n) + " on");
      const auto runner = load();
      int n_ended = 0;
      for (const GenerationResult& result : run_with(*runner, {call, n, code, kForEver})) {
        if (result.status.ok()) continue;
        ++n_ended;
        EXPECT_EQ(result.status.code(), StatusCode::internal) << result.status.to_string();
      }
      EXPECT_GT(n_ended, 0);
      EXPECT_GE(runner->engine().stats().steps_failed, 1);
      EXPECT_EQ(tokens_of(runner->run(requests_)), expected_);
    }
  }
}

// A stream that cannot be waited for may still write into blocks that others would get.
TEST_F(CudaFaults, a_stream_that_nothing_can_wait_for_is_a_lost_device) {
  for (const int64_t n : {1, 20}) {
    const auto runner = load();
    for (const GenerationResult& result :
         run_with(*runner, {"", n, cudaErrorInvalidValue, kForEver})) {
      EXPECT_EQ(result.status.code(), StatusCode::unavailable) << result.status.to_string();
    }
    EXPECT_EQ(runner->engine().stats().steps_repeated, 0);
  }
}

// Sticky by what NVIDIA says, and by what nobody knows; whether the emulated context dies of it or
// not, nothing is tried again.
TEST_F(CudaFaults, sticky_errors_are_a_lost_device) {
  const Calls calls = calls_of_a_run();
  const std::vector<std::string> names = {"cudaLaunchKernelEx", "cudaMemcpyAsync",
                                          "cudaEventSynchronize", "cudaGraphLaunch"};
  int n_codes = 0;
  for (const cuda::SortedError& error : cuda::cuda_errors()) {
    if (error.kind != cuda::ErrorKind::sticky || error.code > 1000) continue;
    // Each run takes some of them, and these always.
    const bool always = error.code == cudaErrorLaunchFailure || error.code == cudaErrorUnknown;
    if (!always && random_() % (is_sanitized() ? 12 : 4) != 0) continue;
    ++n_codes;
    const std::string& call = names[random_() % names.size()];
    // Another run may need fewer calls.
    const int64_t n = 1 + static_cast<int64_t>(random_() % (1 + calls.at(call) / 4));
    SCOPED_TRACE(call + " number " + std::to_string(n) + " answers " + std::string(error.name));
    auto runner = load();
    int n_lost = 0;
    for (const GenerationResult& result : run_with(*runner, {call, n, error.code})) {
      if (result.status.ok()) continue;
      ++n_lost;
      EXPECT_EQ(result.status.code(), StatusCode::unavailable) << result.status.to_string();
    }
    EXPECT_GT(n_lost, 0);
    EXPECT_EQ(runner->engine().stats().steps_repeated, 0) << "it was tried again";
    EXPECT_EQ(runner->run({requests_.front()}).front().status.code(), StatusCode::unavailable);
    runner.reset();
    cuda_emulator::reset();
  }
  EXPECT_GE(n_codes, 2);
}

// cuBLAS answers EXECUTION_FAILED of a context that is dead as of a launch that was refused: the
// runtime is asked which it was.
TEST_F(CudaFaults, a_product_that_fails_on_a_dead_context_is_a_lost_device) {
  const auto runner = load();
  const Fault refused = {"cublasGemmEx", 5, CUBLAS_STATUS_EXECUTION_FAILED};
  EXPECT_EQ(tokens_of(run_with(*runner, refused)), expected_) << "the context was well";
  const Fault dead = {"cublasGemmEx", 5, cudaErrorLaunchFailure, 1, true};
  for (const GenerationResult& result : run_with(*runner, dead)) {
    EXPECT_EQ(result.status.code(), StatusCode::unavailable) << result.status.to_string();
  }
  EXPECT_EQ(runner->engine().stats().steps_repeated, 1) << "the first alone was tried again";
}

}  // namespace
}  // namespace parkd
