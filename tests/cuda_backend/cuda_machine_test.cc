// What the backend does when its machine fails, runs short of memory, or has more than one device.
// Of the emulated machine only.
#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "lib/base/inbox.h"
#include "lib/engine/local_engine.h"
#include "lib/model/model.h"
#include "testing.h"
#include "tests/cuda_backend/cuda_rig.h"
#include "tests/cuda_backend/emulated_cublas.h"

namespace parkd {
namespace {

using testing::backend_options;
using testing::card_of;
using testing::CudaWay;
using testing::EngineRunner;
using testing::is_sanitized;
using testing::kBlockSize;
using testing::on_cpu;
using testing::on_cuda;
using testing::printed_seed;
using testing::random_prompt;
using testing::requests_for;
using testing::short_requests_for;
using testing::tiny_card;
using testing::tokens_of;

// The next test finds the machine as new.
class EmulatedMachine : public ::testing::Test {
 protected:
  ~EmulatedMachine() override {
    cuda_emulator::reset();
    cuda_emulator::set_device_count(1);
    cuda_emulator::set_driver_version(CUDART_VERSION);
    cuda_emulator::set_device_memory(size_t{8} << 30);
    cuda_emulator::set_memory_pools(true);
  }
};

TEST_F(EmulatedMachine, without_a_device_says_so) {
  cuda_emulator::set_device_count(0);
  const auto devices = find_cuda_devices();
  ASSERT_FALSE(devices.ok());
  EXPECT_EQ(devices.status().message().rfind("no CUDA device", 0), 0U)
      << devices.status().message();
}

TEST_F(EmulatedMachine, a_driver_that_is_too_old_says_which_is_needed_and_which_was_found) {
  cuda_emulator::set_driver_version(12040);
  EXPECT_EQ(
      find_cuda_devices().status().message(),
      "no CUDA device: this parkd needs a driver for CUDA 13 (R580 or newer), and the one found "
      "is for CUDA 12.4");
  cuda_emulator::set_driver_version(0);
  EXPECT_EQ(find_cuda_devices().status().message(),
            "no CUDA device: this parkd needs a driver for CUDA 13 (R580 or newer), and none was "
            "found");
}

TEST_F(EmulatedMachine, a_device_that_fails_hides_no_other) {
  cuda_emulator::set_device_count(2);
  for (int64_t n = 2; n <= 4; ++n) {  // after the count, a call of the first device each
    cuda_emulator::inject_error(n, cudaErrorUnknown);
    const auto devices = find_cuda_devices();
    ASSERT_TRUE(devices.ok()) << devices.status().to_string();
    ASSERT_EQ(devices->size(), 1U);
    EXPECT_EQ(devices->front().id, 1);
  }
  EXPECT_EQ(find_cuda_devices()->size(), 2U);
}

TEST_F(EmulatedMachine, only_devices_that_are_asked_for_get_a_context) {
  cuda_emulator::set_device_count(3);
  EXPECT_TRUE(has_cuda_device());
  EXPECT_TRUE(has_cuda_device({0, 2}));
  EXPECT_FALSE(has_cuda_device({7, 2})) << "a model wants all that it names";
  EXPECT_FALSE(has_cuda_device({7}));
  EXPECT_TRUE(cuda_emulator::devices_with_context().empty()) << "who only asks takes nothing";
  const auto of_two = find_cuda_devices({2, 1});
  ASSERT_TRUE(of_two.ok()) << of_two.status().to_string();
  ASSERT_EQ(of_two->size(), 2U);
  EXPECT_EQ((*of_two)[0].id, 2);
  EXPECT_EQ((*of_two)[1].id, 1);
  EXPECT_EQ(cuda_emulator::devices_with_context(), (std::set<int>{1, 2}));

  EXPECT_EQ(find_cuda_devices({7}).status().message(), "no CUDA device 7: the driver knows 3");
}

TEST_F(EmulatedMachine, a_device_that_is_left_has_no_context_but_where_a_backend_is_on_it) {
  cuda_emulator::set_device_count(2);
  ASSERT_EQ(find_cuda_devices()->size(), 2U);
  CudaBackendOptions options;
  options.shape = tiny_card(TensorType::f32)->shape;
  options.device = 1;
  auto backend = make_cuda_backend(options);
  ASSERT_TRUE(backend.ok()) << backend.status().to_string();
  leave_cuda_device(0);
  leave_cuda_device(1);
  EXPECT_EQ(cuda_emulator::devices_with_context(), std::set<int>{1});
  backend.value().reset();
  leave_cuda_device(1);
  EXPECT_TRUE(cuda_emulator::devices_with_context().empty());
}

TEST_F(EmulatedMachine, a_device_without_memory_pools_gives_the_same_tokens) {
  const auto card = tiny_card(TensorType::q4_1);
  std::mt19937_64 random(printed_seed());
  const auto requests = short_requests_for(*card, random());
  const auto tokens = [&] {
    std::vector<std::vector<TokenId>> of_requests;
    const auto runner = on_cuda(card, Dtype::bf16, {"one_worker", 1});
    for (const GenerationResult& result : runner->run(requests)) {
      EXPECT_TRUE(result.status.ok()) << result.status.to_string();
      for (const auto& choice : result.choices) of_requests.push_back(choice.tokens);
    }
    return of_requests;
  };
  const auto with_pools = tokens();
  cuda_emulator::set_memory_pools(false);
  const int64_t before = cuda_emulator::n_calls_by_name()["cudaMallocAsync"];
  EXPECT_EQ(tokens(), with_pools);
  EXPECT_EQ(cuda_emulator::n_calls_by_name()["cudaMallocAsync"], before);
  EXPECT_EQ(cuda_emulator::device_memory_used(), 0U);
}

// Calls that `run` makes, so that one of them can fail.
template <class F>
int64_t calls_of(F run) {
  const int64_t before = cuda_emulator::n_calls();
  run();
  return cuda_emulator::n_calls() - before;
}

// Runs `requests` once as they are, to count the calls, and then `rounds` times on a new engine
// with one call, of the given share from the start, failing with `error`. `look(runner, results)`
// sees what came of each.
struct FailingCalls {
  cudaError_t error = cudaErrorUnknown;
  int rounds = 1;
  int64_t tenths = 9;  // the last calls free and say nothing; another run may need fewer
};
template <class Load, class Look>
void with_failing_calls(const FailingCalls& failing, std::mt19937_64& random, Load load,
                        const std::vector<GenerationRequest>& requests, Look look) {
  int64_t n_calls = 0;
  {
    const auto runner = load();
    n_calls = calls_of([&] { (void)runner->run(requests); });
  }
  for (int round = 0; round < failing.rounds; ++round) {
    auto runner = load();
    const auto n_most = static_cast<uint64_t>(n_calls * failing.tenths / 10);
    const int64_t n = 1 + static_cast<int64_t>(random() % n_most);
    SCOPED_TRACE("call " + std::to_string(n) + " of " + std::to_string(n_calls));
    cuda_emulator::inject_error(n, failing.error);
    const std::vector<GenerationResult> results = runner->run(requests);
    cuda_emulator::inject_nothing();  // a run of fewer calls left it to a later one
    look(*runner, results);
    runner.reset();
    cuda_emulator::reset();
  }
}

// Whatever call it is that fails, every request has its one answer, blocks come back, and nothing
// runs any more.
TEST_F(EmulatedMachine, lost_device_ends_every_request_as_unavailable) {
  const auto card = tiny_card(TensorType::q4_1);
  std::mt19937_64 random(printed_seed());
  const auto requests = short_requests_for(*card, random());
  const auto load = [&] { return on_cuda(card, Dtype::bf16, {"two_workers", 2}); };
  with_failing_calls({cudaErrorLaunchFailure, is_sanitized() ? 3 : 5, 6}, random, load, requests,
                     [&](auto& runner, const std::vector<GenerationResult>& results) {
                       int n_lost = 0;
                       for (const GenerationResult& result : results) {
                         if (result.status.ok()) continue;
                         ++n_lost;
                         EXPECT_EQ(result.status.code(), StatusCode::unavailable)
                             << result.status.to_string();
                       }
                       EXPECT_GT(n_lost, 0);
                       const auto later = runner.run({requests.front()});
                       EXPECT_EQ(later.front().status.code(), StatusCode::unavailable);
                     });
}

// The device works, the lane takes it for lost: another lane may get its blocks as soon as the
// failure is known.
TEST_F(EmulatedMachine, a_failed_lane_has_stopped_when_its_failure_is_known) {
  const auto card = tiny_card(TensorType::q4_1);
  std::mt19937_64 random(printed_seed());
  auto requests = requests_for(*card, random());
  requests.resize(2);  // short ones: most of their steps decode, one is captured
  int n_failed = 0;
  with_failing_calls(
      {cudaErrorUnknown, is_sanitized() ? 10 : 20}, random,
      [&] { return on_cuda(card, Dtype::bf16, {"one"}); }, requests,
      [&](auto&, const std::vector<GenerationResult>& results) {
        bool failed = false;
        for (const auto& result : results) failed |= !result.status.ok();
        EXPECT_TRUE(!failed || cuda_emulator::is_idle());
        n_failed += failed ? 1 : 0;
      });
  // About six calls in ten are the lane's to lose; cuBLAS' are computed again, some ask for
  // nothing.
  EXPECT_GE(n_failed, is_sanitized() ? 1 : 4);
}

// Weights, the largest step of each lane, what is free is looked at, KV memory, graphs; then jobs,
// for which nothing is allocated, captured or loaded.
TEST_F(EmulatedMachine, kv_memory_is_measured_after_the_largest_step_and_graphs_come_last) {
  const auto card = tiny_card(TensorType::q4_1);
  CudaWay way{"two_workers", 2};
  way.warms_up = true;
  way.step_tokens = 32;
  cuda_emulator::set_device_memory(size_t{1} << 30);
  std::vector<EngineDevice> devices;
  devices.push_back(
      {make_cuda_backend(backend_options(*card, Dtype::bf16, way)).value(), Blocks{1}, Blocks{64}});
  cuda_emulator::record_calls();
  EngineRunner runner(card, std::move(devices), testing::engine_options(way));
  const std::vector<std::string> calls = cuda_emulator::recorded_calls();
  EXPECT_EQ(runner.engine().kv_blocks(), std::vector<Blocks>{Blocks{64}}) << "not what was planned";

  const auto count = [&](const char* name, auto from, auto to) {
    return std::count(from, to, name);
  };
  const auto measured = std::find(calls.begin(), calls.end(), "cudaMemGetInfo");
  ASSERT_NE(measured, calls.end());
  EXPECT_EQ(count("cudaMemGetInfo", calls.begin(), calls.end()), 1);
  const auto before = [&](const char* name) { return count(name, calls.begin(), measured); };
  const auto after = [&](const char* name) { return count(name, measured, calls.end()); };
  EXPECT_GT(before("cublasGemmEx"), 0) << "no step has run";
  EXPECT_EQ(before("cublasCreate_v2"), 2) << "of each lane";
  EXPECT_EQ(before("cudaStreamBeginCapture"), 0);
  EXPECT_EQ(after("cudaMallocAsync"), 1) << "KV memory";
  EXPECT_GT(before("cudaMallocHost"), 0);
  EXPECT_EQ(after("cudaMallocHost") + after("cudaMalloc"), 0);
  const auto kv = std::find(measured, calls.end(), "cudaMallocAsync");
  EXPECT_EQ(count("cudaStreamBeginCapture", measured, kv), 0);
  EXPECT_GT(count("cudaStreamBeginCapture", kv, calls.end()), 0);
  EXPECT_GT(count("cudaGraphInstantiate", kv, calls.end()), 0);

  cuda_emulator::record_calls();
  std::mt19937_64 random(printed_seed());
  auto requests = short_requests_for(*card, random());
  for (GenerationRequest& request : requests) request.sampling.logit_bias.clear();
  (void)tokens_of(runner.run(requests));
  const std::vector<std::string> served = cuda_emulator::recorded_calls();
  for (const char* cold : {"cudaMallocAsync", "cudaMalloc", "cudaMallocHost",
                           "cudaStreamBeginCapture", "cudaGraphInstantiate", "cublasCreate_v2"}) {
    EXPECT_EQ(count(cold, served.begin(), served.end()), 0) << cold;
  }
  EXPECT_GT(count("cudaGraphLaunch", served.begin(), served.end()), 0);
}

// Memory that an engine needs at all is taken while it loads: it is refused then, or has enough.
TEST_F(EmulatedMachine, memory_that_is_short_is_short_while_loading_and_never_for_a_job) {
  const auto card = tiny_card(TensorType::q4_1);
  std::mt19937_64 random(printed_seed());
  auto requests = short_requests_for(*card, random());
  for (GenerationRequest& request : requests) {  // edits are as many as requests ask for
    request.sampling.presence_penalty = request.sampling.frequency_penalty = 0;
    request.sampling.repetition_penalty = 1;
    request.sampling.logit_bias.clear();
  }
  const CudaWay way{"two_workers", 2};
  const size_t before = cuda_emulator::device_memory_used();
  size_t loaded = 0;
  {
    const auto runner = on_cuda(card, Dtype::bf16, way);
    loaded = cuda_emulator::device_memory_used();
    (void)tokens_of(runner->run(requests));
    EXPECT_EQ(cuda_emulator::device_memory_used(), loaded) << "a job made the engine allocate";
  }
  for (const size_t short_by : {size_t{0}, size_t{1}, size_t{1000}, size_t{300000}}) {
    cuda_emulator::reset();
    cuda_emulator::set_device_memory(loaded - before - short_by);
    std::vector<EngineDevice> devices;
    auto backend = make_cuda_backend(backend_options(*card, Dtype::bf16, way));
    if (!backend.ok()) continue;  // shorter than what only loading needs
    devices.push_back({std::move(*backend), Blocks{64}});
    EngineOptions options = testing::engine_options(way);
    options.on_result = [](GenerationResult) {};
    const auto engine = make_engine(card, std::move(devices), std::move(options));
    EXPECT_EQ(engine.ok(), short_by == 0) << engine.status().to_string();
    if (!engine.ok()) {
      EXPECT_EQ(engine.status().code(), StatusCode::exhausted) << engine.status().to_string();
    }
  }
}

// A device that has no memory for a moment is not lost: what ran ends as exhausted, what comes
// later runs.
TEST_F(EmulatedMachine, memory_that_is_short_later_loses_what_ran_and_nothing_else) {
  const auto card = tiny_card(TensorType::q4_1);
  std::mt19937_64 random(printed_seed());
  auto requests = short_requests_for(*card, random());
  requests.resize(3);
  const auto expected = tokens_of(on_cpu(card, Dtype::f32)->run(requests));
  int n_failed = 0;
  with_failing_calls(
      {cudaErrorMemoryAllocation, 8}, random, [&] { return on_cuda(card, Dtype::f32, {"one"}); },
      requests,
      [&](auto& runner, const std::vector<GenerationResult>& results) {
        for (const GenerationResult& result : results) {
          if (result.status.ok()) continue;
          ++n_failed;
          EXPECT_EQ(result.status.code(), StatusCode::exhausted) << result.status.to_string();
        }
        for (int again = 0; again < (is_sanitized() ? 1 : 2); ++again) {
          EXPECT_EQ(tokens_of(runner.run(requests)), expected);
        }
      });
  EXPECT_GT(n_failed, 0);
}

// Feeds requests as their blocks come free, as the dispatcher does, and cancels some.
class BusyPool {
 public:
  BusyPool(const std::shared_ptr<const ModelCard>& card, CudaWay way, Blocks blocks)
      : free_(blocks.count) {
    std::vector<EngineDevice> devices;
    devices.push_back({make_cuda_backend(backend_options(*card, Dtype::f32, way)).value(), blocks});
    EngineOptions options = testing::engine_options(way);
    options.on_result = [this](GenerationResult result) { results_.push(std::move(result)); };
    engine_ = make_engine(card, std::move(devices), std::move(options)).value();
  }
  ~BusyPool() { engine_->stop(); }

  // Results by id. Some requests are cancelled when they, or ones soon after them, start.
  std::map<RequestId, GenerationResult> run(const std::vector<GenerationRequest>& requests,
                                            std::mt19937_64& random) {
    std::map<RequestId, GenerationResult> results;
    size_t next = 0;
    while (results.size() < requests.size()) {
      while (next < requests.size() && cost_of(requests[next]) <= free_) {
        free_ -= cost_of(requests[next]);
        engine_->start(requests[next]);
        const size_t back = random() % 3;
        if (random() % 2 == 0 && back <= next) engine_->cancel(requests[next - back].id);
        ++next;
      }
      for (GenerationResult& result : results_.wait_all()) {
        for (const GenerationRequest& request : requests) {
          if (request.id == result.id) free_ += cost_of(request);
        }
        const RequestId id = result.id;
        EXPECT_TRUE(results.emplace(id, std::move(result)).second);
      }
    }
    return results;
  }

 private:
  static int64_t cost_of(const GenerationRequest& request) {
    const auto n_tokens =
        static_cast<int64_t>(request.prompts[0].tokens.size()) + request.prompts[0].max_new_tokens;
    return request.n_choices * ceil_div(n_tokens, kBlockSize);
  }
  int64_t free_;
  Inbox<GenerationResult> results_;
  std::unique_ptr<Engine> engine_;
};

// A block goes from one stream's sequence to another's within a step: who frees it too early has it
// overwritten, or overwrites it.
TEST_F(EmulatedMachine, three_workers_hand_blocks_to_each_other_and_nothing_changes) {
  const auto card = tiny_card(TensorType::q4_1);
  std::mt19937_64 random(printed_seed());
  std::vector<GenerationRequest> requests;
  for (int i = 0; i < 12; ++i) {
    GenerationRequest request;
    request.prompts[0].tokens =
        random_prompt(random, *card, static_cast<int32_t>(20 + random() % 40));
    request.prompts[0].max_new_tokens = static_cast<int32_t>(1 + random() % 4);
    request.sampling.temperature = 0;
    request.sampling.logprobs = true;
    request.id = static_cast<RequestId>(i + 1);
    requests.push_back(std::move(request));
  }
  const auto expected = tokens_of(on_cpu(card, Dtype::f32)->run(requests));
  // Ends that the host learns of one step late, while the next is under way.
  for (size_t i = 0; i < requests.size(); ++i) {
    // Of one whose last bytes begin a character nothing may be left.
    if (i % 4 == 0 || expected[i].empty()) continue;
    requests[i].stop_tokens = {expected[i].back()};
    requests[i].prompts[0].max_new_tokens += 3;
  }
  const auto wanted = on_cpu(card, Dtype::f32)->run(requests);
  BusyPool pool(card, {"three_workers", 3}, Blocks{7});
  std::vector<GenerationRequest> all;
  for (int round = 0; round < 6; ++round) {
    for (const GenerationRequest& request : requests) {
      all.push_back(request);
      all.back().id = static_cast<RequestId>(all.size());
    }
  }
  int n_cancelled = 0;
  for (const auto& [id, result] : pool.run(all, random)) {
    ASSERT_TRUE(result.status.ok()) << result.status.to_string();
    const GeneratedChoice& right = wanted[(id - 1) % requests.size()].choices.front();
    const GeneratedChoice& choice = result.choices.front();
    const bool cancelled = choice.finish_reason == FinishReason::cancelled;
    n_cancelled += cancelled ? 1 : 0;
    ASSERT_LE(choice.tokens.size(), right.tokens.size());
    ASSERT_TRUE(cancelled || choice.tokens.size() == right.tokens.size()) << "request " << id;
    for (size_t t = 0; t < choice.tokens.size(); ++t) {
      ASSERT_EQ(choice.tokens[t], right.tokens[t]) << "request " << id << " token " << t;
      ASSERT_NEAR(choice.logprobs[t].logprob, right.logprobs[t].logprob, 1e-3)
          << "request " << id << " token " << t;
    }
  }
  std::cout << n_cancelled << " of " << all.size() << " cancelled\n";
  EXPECT_GT(n_cancelled, 0);
}

// A replayed step is a handful of calls, whatever the model's depth.
TEST_F(EmulatedMachine, graphs_save_most_of_the_calls) {
  const auto card = tiny_card(TensorType::q4_1);
  GenerationRequest request = requests_for(*card, printed_seed()).front();
  request.prompts[0].max_new_tokens = 40;
  request.sampling.logprobs = false;
  request.sampling.top_logprobs = 0;
  const auto calls_with = [&](bool graphs) {
    const auto runner = on_cuda(card, Dtype::bf16, {"one", 1, 0, 128, graphs});
    return calls_of([&] { EXPECT_TRUE(runner->run({request}).front().status.ok()); });
  };
  const int64_t with_graphs = calls_with(true);
  const int64_t without = calls_with(false);
  std::cout << "calls of 40 steps: " << with_graphs << " with graphs, " << without << " without\n";
  EXPECT_LT(with_graphs * 2, without);
}

// Each device has weights of its own here, so that whoever reads the other's memory says what it
// should not.
TEST_F(EmulatedMachine, two_devices_hold_a_model_each) {
  cuda_emulator::set_device_count(2);
  const CudaWay way{"two_devices"};
  EngineParts parts;
  std::vector<std::vector<std::vector<TokenId>>> expected;
  std::vector<GenerationRequest> requests;
  const uint64_t seed = printed_seed();
  for (const int32_t id : {0, 1}) {
    const auto card = card_of(way, static_cast<uint64_t>(id) + 1);
    if (requests.empty()) requests = requests_for(*card, seed);
    expected.push_back(tokens_of(on_cpu(card, Dtype::f32)->run(requests)));
    CudaBackendOptions options = backend_options(*card, Dtype::f32, way);
    options.device = id;
    LoadedDevice device;
    device.device.backend = make_cuda_backend(options).value();
    device.weights = load_weights(*card, *device.device.backend, nullptr).value();
    device.device.kv_blocks = Blocks{64};
    parts.shape = card->shape;
    parts.devices.push_back(std::move(device));
    // What a token spells decides whether a text that is cut keeps it.
    parts.token_bytes = [tokenizer = card->tokenizer](TokenId token) {
      return tokenizer->token_bytes(token);
    };
  }
  ASSERT_NE(expected[0], expected[1]);
  Inbox<GenerationResult> results;
  EngineOptions options = testing::engine_options(way);
  options.on_result = [&results](GenerationResult result) { results.push(std::move(result)); };
  const auto engine = LocalEngine::make(std::move(parts), options).value();
  const auto run_on = [&](int32_t device) {
    for (GenerationRequest request : requests) {
      request.device = device;
      request.id += static_cast<RequestId>(1000 * device);
      engine->start(std::move(request));
    }
  };
  run_on(0);
  run_on(1);
  std::map<RequestId, GenerationResult> by_id;
  while (by_id.size() < 2 * requests.size()) {
    for (GenerationResult& result : results.wait_all()) by_id[result.id] = std::move(result);
  }
  engine->stop();
  for (const int32_t device : {0, 1}) {
    std::vector<GenerationResult> of_device;
    for (const GenerationRequest& request : requests) {
      of_device.push_back(by_id.at(request.id + static_cast<RequestId>(1000 * device)));
    }
    EXPECT_EQ(tokens_of(of_device), expected[static_cast<size_t>(device)]) << "device " << device;
  }
}

}  // namespace
}  // namespace parkd
