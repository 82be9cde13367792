// Which device a model gets, and its backend, on an emulated machine: the daemon's own code against
// the emulator in place of the driver.
#include "daemon/models/model_device.h"

#include <cublas_v2.h>
#include <gtest/gtest.h>

#include <chrono>
#include <iostream>
#include <string>
#include <vector>

#include "daemon/models/model_loader.h"
#include "lib/backend/cuda_plan.h"
#include "lib/backend/models_outlook.h"
#include "testing.h"
#include "tests/cuda_backend/cuda_rig.h"
#include "tests/cuda_backend/emulated_cublas.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

namespace parkd {
namespace {

constexpr size_t kMib = size_t{1} << 20;
// Room for the weights, the workspaces and some KV: the emulator fills all of it with NaN.
constexpr size_t kDeviceBytes = 512 * kMib;

testing::TinyModelOptions tiny_options() {
  testing::TinyModelOptions options;
  options.hidden = 64;
  options.n_heads = 2;
  options.n_kv_heads = 1;
  options.head_dim = 64;
  return options;
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::vector<PoolPart> parts_of(const CudaPlan& plan) {
  std::vector<PoolPart> parts;
  for (const CudaShare& share : plan.devices) {
    parts.push_back({share.kv_blocks, share.max_num_seqs});
  }
  return parts;
}

class ModelDeviceTest : public ::testing::Test {
 protected:
  ModelDeviceTest() {
    cuda_emulator::set_device_memory(kDeviceBytes);
    model_.name = "tiny";
    model_.params.kvcache_mem_cpu_mb = 16;
    model_.params.kvcache_mem_gpu_mb = 16;
  }
  // The next test finds the machine as new.
  ~ModelDeviceTest() override {
    testing::set_cublas(testing::Cublas::right);
    cuda_emulator::set_tensor_core_factor(1);
    cuda_emulator::reset();
    cuda_emulator::set_device_count(1);
    cuda_emulator::set_device_memory(size_t{8} << 30);
    for (const int device : {0, 1}) cuda_emulator::set_compute_capability(device, 8, 0);
  }

  Result<ModelDevice> choose() { return choose_device(config_, model_, *card_); }

  // What choose() goes by, without its self-check.
  CudaPlan planned() {
    auto plan = plan_on(*find_devices(model_.params), config_, model_, *card_);
    EXPECT_TRUE(plan.ok()) << plan.status().to_string();
    return plan.ok() ? *std::move(plan) : CudaPlan();
  }

  // On the CPU, and says why with these words.
  void expect_cpu(const std::string& words) {
    const auto chosen = choose();
    ASSERT_TRUE(chosen.ok()) << chosen.status().to_string();
    EXPECT_FALSE(chosen->is_cuda);
    EXPECT_EQ(chosen->description.rfind("cpu ", 0), 0U) << chosen->description;
    EXPECT_TRUE(contains(chosen->why, words)) << chosen->why;
    EXPECT_TRUE(contains(chosen->why, "using cpu")) << chosen->why;
    EXPECT_FALSE(chosen->refused);
  }

  // An error that names the field, with these words.
  void expect_error(const std::string& words) {
    model_.params.device = Device::cuda;
    const auto chosen = choose();
    ASSERT_FALSE(chosen.ok()) << chosen->why;
    EXPECT_EQ(chosen.status().param(), "params.device");
    EXPECT_TRUE(contains(chosen.status().message(), "device: cuda of model tiny"))
        << chosen.status().message();
    EXPECT_TRUE(contains(chosen.status().message(), words)) << chosen.status().message();
  }

  Config config_;
  ModelConfig model_;
  std::shared_ptr<const ModelCard> card_ = testing::tiny_model_card(tiny_options());
};

TEST_F(ModelDeviceTest, auto_takes_a_device_that_answers_as_the_cpu_does) {
  const auto chosen = choose();
  ASSERT_TRUE(chosen.ok()) << chosen.status().to_string();
  EXPECT_TRUE(chosen->is_cuda);
  EXPECT_EQ(chosen->description, "cuda Emulated CUDA device bf16");
  EXPECT_TRUE(contains(chosen->why, "CUDA device 0 (Emulated CUDA device) answers as the cpu does"))
      << chosen->why;
  EXPECT_FALSE(chosen->refused);
  EXPECT_EQ(chosen->degraded, "");
  ASSERT_EQ(chosen->devices.size(), 1U);
  // 16 MiB of blocks of 32 tokens, K and V of 64 bf16 in each of 2 layers.
  // 32 blocks each for sequences of 1,024 tokens.
  EXPECT_EQ(chosen->parts, (std::vector<PoolPart>{{Blocks{1024}, 32}}));
  EXPECT_TRUE(chosen->derived);
  EXPECT_EQ(chosen->n_workers, 1);
  EXPECT_EQ(chosen->step_tokens, 2048);
}

TEST_F(ModelDeviceTest, device_cpu_looks_at_no_device) {
  model_.params.device = Device::cpu;
  const int64_t before = cuda_emulator::n_calls();
  const auto chosen = choose();
  ASSERT_TRUE(chosen.ok());
  EXPECT_EQ(chosen->why, "device: cpu");
  EXPECT_EQ(cuda_emulator::n_calls(), before);
}

TEST_F(ModelDeviceTest, without_a_device_the_cpu_is_used_or_the_field_is_named) {
  cuda_emulator::set_device_count(0);
  expect_cpu("no CUDA device: using cpu");
  expect_error("no CUDA device");
}

TEST_F(ModelDeviceTest, device_below_compute_capability_8_is_not_used) {
  cuda_emulator::set_compute_capability(0, 7, 5);
  expect_cpu("has compute capability 7.5, the least is 8.0");
  expect_error("has compute capability 7.5, the least is 8.0");
}

TEST_F(ModelDeviceTest, device_that_answers_wrongly_is_refused) {
  testing::set_cublas(testing::Cublas::wrong);
  const auto chosen = choose();
  ASSERT_TRUE(chosen.ok()) << chosen.status().to_string();
  EXPECT_FALSE(chosen->is_cuda);
  EXPECT_TRUE(chosen->refused);
  EXPECT_TRUE(contains(chosen->why,
                       "CUDA device 0 (Emulated CUDA device) does not answer as the "
                       "cpu does: log-probabilities differ"))
      << chosen->why;
  EXPECT_TRUE(contains(chosen->why, "using cpu")) << chosen->why;
  for (const char* way : {"with graphs and plain attention does not answer as the cpu does",
                          "with no graphs and plain attention does not answer as the cpu does"}) {
    EXPECT_TRUE(contains(chosen->degraded, way)) << chosen->degraded;
  }
  expect_error("does not answer as the cpu does");
}

// --- the ladder

// On the device, by a way that the words of `degraded` leave.
void expect_rung(const Result<ModelDevice>& chosen, const std::string& way,
                 const std::vector<std::string>& words) {
  ASSERT_TRUE(chosen.ok()) << chosen.status().to_string();
  EXPECT_TRUE(chosen->is_cuda) << chosen->why;
  EXPECT_FALSE(chosen->refused);
  EXPECT_TRUE(contains(chosen->why, "answers as the cpu does")) << chosen->why;
  EXPECT_TRUE(contains(chosen->why, way)) << chosen->why;
  for (const std::string& word : words) {
    EXPECT_TRUE(contains(chosen->degraded, word)) << chosen->degraded;
  }
}

TEST_F(ModelDeviceTest, tensor_cores_that_are_right_are_used) {
  ASSERT_TRUE(model_.params.tensor_core_attention);
  const auto chosen = choose();
  ASSERT_TRUE(chosen.ok());
  EXPECT_TRUE(chosen->is_cuda);
  EXPECT_EQ(chosen->degraded, "");
}

TEST_F(ModelDeviceTest, wrong_tensor_cores_leave_the_graphs) {
  cuda_emulator::set_tensor_core_factor(1.2F);
  for (const Device device : {Device::automatic, Device::cuda}) {
    model_.params.device = device;
    model_.params.tensor_core_attention = true;
    expect_rung(choose(), "with graphs and plain attention",
                {"with graphs and tensor cores does not answer as the cpu does"});
    // They are not asked where nobody wants them.
    model_.params.tensor_core_attention = false;
    EXPECT_EQ(choose()->degraded, "");
  }
}

TEST_F(ModelDeviceTest, wrong_graphs_leave_the_device) {
  testing::set_cublas(testing::Cublas::wrong_in_graphs);
  for (const Device device : {Device::automatic, Device::cuda}) {
    model_.params.device = device;
    expect_rung(choose(), "with no graphs and plain attention",
                {"with graphs and plain attention does not answer as the cpu does"});
  }
  model_.params.tensor_core_attention = true;
  expect_rung(
      choose(), "with no graphs and plain attention",
      {"with graphs and tensor cores does not", "with graphs and plain attention does not"});
}

TEST_F(ModelDeviceTest, graphs_that_cannot_be_captured_leave_the_device) {
  cuda_emulator::inject({"cudaStreamBeginCapture", 1, cudaErrorNotSupported, 1000});
  expect_rung(choose(), "with no graphs and plain attention",
              {"with graphs and plain attention fails", "cudaErrorNotSupported"});
}

// The CPU is below the last rung, where it may be: not of who asks for CUDA.
TEST_F(ModelDeviceTest, a_device_that_fails_on_every_rung_is_not_used) {
  cuda_emulator::inject({"cublasGemmEx", 1, CUBLAS_STATUS_NOT_SUPPORTED, 1 << 30});
  expect_cpu("fails: cublasGemmEx: CUBLAS_STATUS_NOT_SUPPORTED");
  EXPECT_TRUE(contains(choose()->degraded, "with no graphs and plain attention fails"));
  expect_error("fails: cublasGemmEx: CUBLAS_STATUS_NOT_SUPPORTED");
}

TEST_F(ModelDeviceTest, without_a_device_nothing_is_degraded) {
  cuda_emulator::set_device_count(0);
  EXPECT_EQ(choose()->degraded, "");
}

// What is missing says nothing of how the device answers.
TEST_F(ModelDeviceTest, missing_cublas_is_no_refusal) {
  testing::set_cublas(testing::Cublas::missing);
  expect_cpu("CUDA device 0 (Emulated CUDA device) cannot be used: cannot open");
  expect_error("cannot open");
}

TEST_F(ModelDeviceTest, too_little_memory_is_no_refusal) {
  cuda_emulator::set_device_memory(40 * kMib);  // for one cuBLAS workspace, not for three
  expect_cpu("CUDA device 0 (Emulated CUDA device) cannot be used: ");
  model_.params.kvcache_mem_gpu_mb.reset();
  expect_cpu("no KV block fits into what the weights leave of 40 MiB that are free (0 MiB)");
  expect_error("no KV block fits");
}

TEST_F(ModelDeviceTest, lost_device_during_the_check_is_no_refusal) {
  cuda_emulator::inject_error(200, cudaErrorLaunchFailure);
  expect_cpu("CUDA device 0 (Emulated CUDA device) cannot be used: ");
}

TEST_F(ModelDeviceTest, device_ids_name_the_devices) {
  cuda_emulator::set_device_count(2);
  model_.params.device_ids = {1};
  const auto second = choose();
  ASSERT_TRUE(second.ok()) << second.status().to_string();
  EXPECT_TRUE(contains(second->why, "CUDA device 1 (")) << second->why;
  ASSERT_EQ(second->devices.size(), 1U);
  model_.params.device_ids = {1, 0};
  const auto both = choose();
  ASSERT_TRUE(both.ok()) << both.status().to_string();
  EXPECT_EQ(both->description, "cuda Emulated CUDA device bf16 x2");
  EXPECT_EQ(both->parts, (std::vector<PoolPart>{{Blocks{1024}, 32}, {Blocks{1024}, 32}}))
      << "two devices run twice the sequences";
  model_.params.device_ids = {2};
  expect_error("no CUDA device 2: the driver knows 2");
  model_.params.device_ids = {0, 2};
  expect_error("no CUDA device 2 that can be used");
}

TEST_F(ModelDeviceTest, sequences_and_steps_that_are_configured_are_the_models_on_all_devices) {
  cuda_emulator::set_device_count(2);
  model_.params.device_ids = {0, 1};
  model_.params.max_num_seqs = 5;
  model_.pool.worker_threads = 2;
  config_.daemon.step_tokens = 4;
  const CudaPlan both = planned();
  EXPECT_EQ(parts_of(both), (std::vector<PoolPart>{{Blocks{1024}, 3}, {Blocks{1024}, 2}}))
      << "dealt, and no more than were given";
  EXPECT_FALSE(both.derived);
  EXPECT_EQ(both.n_lanes, 2) << "of each";
  EXPECT_EQ(both.step_tokens, 4);
  config_.daemon.step_tokens = 2;
  EXPECT_EQ(planned().step_tokens, 3) << "all that run on a device decode in one step";
}

TEST_F(ModelDeviceTest, sequences_follow_from_the_kv_memory_up_to_256) {
  model_.params.kvcache_mem_gpu_mb = 1;  // 64 blocks
  EXPECT_EQ(parts_of(planned()), (std::vector<PoolPart>{{Blocks{64}, 2}}));
  model_.limits.max_units = 20;
  EXPECT_EQ(parts_of(planned()), (std::vector<PoolPart>{{Blocks{20}, 1}})) << "not one of 1,024";
  model_.limits.max_units.reset();
  model_.params.kvcache_mem_gpu_mb = 200;  // 12,800 blocks: 400 such
  EXPECT_EQ(parts_of(planned()), (std::vector<PoolPart>{{Blocks{12800}, 256}}));
}

// Buffers for 256 sequences are held against the KV memory only until fewer are found to fit.
TEST_F(ModelDeviceTest, fewer_sequences_leave_more_room_for_kv) {
  model_.params.kvcache_mem_gpu_mb.reset();
  cuda_emulator::set_device_memory((512 + 96) * kMib);  // 512 MiB are held back
  const auto derived = plan_on(*find_devices(model_.params), config_, model_, *card_);
  ASSERT_TRUE(derived.ok()) << derived.status().to_string();
  const CudaShare& share = derived->devices.front();
  EXPECT_LT(share.max_num_seqs, 256);
  EXPECT_GE(share.kv_blocks.count / 32, share.max_num_seqs);
  model_.params.max_num_seqs = 256;
  const auto given = plan_on(*find_devices(model_.params), config_, model_, *card_);
  ASSERT_TRUE(given.ok()) << given.status().to_string();
  EXPECT_LT(given->devices.front().kv_blocks, share.kv_blocks);
}

TEST_F(ModelDeviceTest, a_plan_is_told_in_a_line) {
  cuda_emulator::set_device_count(2);
  model_.params.device_ids = {0, 1};
  const auto plan = plan_on(*find_devices(model_.params), config_, model_, *card_);
  ASSERT_TRUE(plan.ok()) << plan.status().to_string();
  EXPECT_EQ(describe(*plan),
            "on CUDA device 0 (Emulated CUDA device) 1024 units and 32 sequences at once, on CUDA "
            "device 1 (Emulated CUDA device) 1024 units and 32 sequences at once, 1 lane a device, "
            "steps of 2048 tokens; max_num_seqs is left out, 64 follow from the KV memory (not "
            "measured)");
}

TEST_F(ModelDeviceTest, the_cpu_keeps_its_own_defaults) {
  model_.params.device = Device::cpu;
  const auto chosen = choose();
  ASSERT_TRUE(chosen.ok());
  EXPECT_EQ(chosen->parts, (std::vector<PoolPart>{{Blocks{1024}, 16}}));
  EXPECT_EQ(chosen->step_tokens, 512);
  EXPECT_FALSE(chosen->derived);
}

// --- loading

class ModelLoaderTest : public ModelDeviceTest {
 protected:
  ModelLoaderTest() {
    config_.daemon.step_tokens = 64;  // each lane is prepared for the largest step
    model_.local_path = directory_.path() + "/tiny.gguf";
    const Status written = testing::write_tiny_model(model_.local_path, tiny_options());
    EXPECT_TRUE(written.ok()) << written.to_string();
  }

  // What a loader reported, and its answer.
  struct Loaded {
    std::vector<ModelEntry> entries;
    Result<LoadedModel> model = unavailable("not loaded");
  };
  // `room_bytes`: of main memory.
  void load(Loaded& to, int64_t room_bytes = int64_t{1} << 40) {
    ModelLoader::Reports reports;
    reports.loading = [&to](const ModelEntry& entry) { to.entries.push_back(entry); };
    reports.stopping = [this] { return stopping_; };
    reports.on_result = [](GenerationResult) {};
    const ModelLoader loader(config_, model_, reports);
    const auto opened = loader.open();
    ASSERT_TRUE(opened.ok()) << opened.status().to_string();
    EXPECT_FALSE(opened->surely_on_cpu) << "there is a device";
    to.model = loader.load(*opened, room_bytes);
  }

  TempDir directory_;
  bool stopping_ = false;
};

TEST_F(ModelLoaderTest, model_whose_kv_does_not_fit_goes_to_the_cpu) {
  model_.params.kvcache_mem_gpu_mb = 4096;  // of 512 there are
  Loaded loaded;
  load(loaded);
  ASSERT_TRUE(loaded.model.ok()) << loaded.model.status().to_string();
  ASSERT_EQ(loaded.entries.size(), 2U) << "the device's price list, then the CPU's";
  EXPECT_EQ(loaded.entries.front().backend, "cuda Emulated CUDA device bf16");
  EXPECT_EQ(loaded.entries.back().backend.rfind("cpu ", 0), 0U) << loaded.entries.back().backend;
  EXPECT_FALSE(loaded.entries.back().device_refused);
  EXPECT_EQ(loaded.entries.back().endpoint->options().capacity, Blocks{1024});
  EXPECT_EQ(loaded.model->port.parts, (std::vector<PoolPart>{{Blocks{1024}, 16}}));
}

TEST_F(ModelLoaderTest, two_devices_are_loaded_with_what_was_derived_and_every_door_tells_it) {
  cuda_emulator::set_device_count(2);
  model_.params.device_ids = {0, 1};
  Loaded loaded;
  load(loaded);
  ASSERT_TRUE(loaded.model.ok()) << loaded.model.status().to_string();
  EXPECT_EQ(loaded.model->port.parts,
            (std::vector<PoolPart>{{Blocks{1024}, 32}, {Blocks{1024}, 32}}));
  EXPECT_EQ(loaded.model->port.lot_places, 128) << "min(2 * 64, 64 + 64)";
  const ModelEntry& entry = loaded.entries.back();
  EXPECT_EQ(entry.max_num_seqs, 64);
  EXPECT_TRUE(entry.max_num_seqs_derived);
  EXPECT_EQ(entry.n_devices, 2);
  EXPECT_EQ(entry.n_lanes, 1);
  EXPECT_EQ(entry.step_tokens, 64);
  EXPECT_EQ(entry.endpoint->options().max_num_seqs, 32) << "a job is all on one device";
  config_.models = {model_};
  const ModelsOutlook found = look_at_models(config_);
  const std::string line = describe(found.models[0], config_);
  EXPECT_TRUE(contains(line, "16 sequences at once, steps of 64 tokens")) << line;
  EXPECT_TRUE(contains(line, "max_num_seqs is left out, 64 follow from the KV memory")) << line;
}

TEST_F(ModelLoaderTest, model_that_would_go_to_the_cpu_waits_for_room_there) {
  model_.params.kvcache_mem_gpu_mb = 4096;
  Loaded loaded;
  load(loaded, 0);
  ASSERT_TRUE(loaded.model.ok()) << loaded.model.status().to_string();
  EXPECT_EQ(loaded.model->engine, nullptr);
}

TEST_F(ModelLoaderTest, model_that_must_be_on_cuda_and_does_not_fit_fails_with_the_field) {
  model_.params.kvcache_mem_gpu_mb = 4096;
  model_.params.device = Device::cuda;
  Loaded loaded;
  load(loaded);
  ASSERT_FALSE(loaded.model.ok());
  EXPECT_EQ(loaded.model.status().param(), "params.device");
  EXPECT_TRUE(contains(loaded.model.status().message(), "cudaErrorMemoryAllocation"))
      << loaded.model.status().message();
}

TEST_F(ModelLoaderTest, a_load_that_nobody_wants_any_more_ends) {
  model_.params.kvcache_mem_gpu_mb = 16;
  stopping_ = true;
  Loaded loaded;
  load(loaded);
  ASSERT_FALSE(loaded.model.ok()) << "loaded on " << loaded.entries.back().backend;
  EXPECT_TRUE(contains(loaded.model.status().message(), "parkd is stopping"))
      << loaded.model.status().message();
}

// What the weights and the steps leave is measured when they have it: whatever the plan took them
// for, KV memory is all but what is held back, and the price list follows.
TEST_F(ModelLoaderTest, kv_that_nobody_configured_is_what_is_left_once_the_largest_step_has_run) {
  if (testing::is_sanitized()) GTEST_SKIP() << "in the plain build";
  constexpr int64_t kTotal = 1024 * kMib;
  constexpr int64_t kBlockBytes = 16 << 10;
  cuda_emulator::set_device_memory(kTotal);
  model_.params.kvcache_mem_gpu_mb.reset();
  model_.params.max_num_seqs = 2;  // each number of them is captured
  model_.params.device = Device::cuda;
  const Blocks planned_blocks = planned().devices.front().kv_blocks;
  Loaded loaded;
  load(loaded);
  ASSERT_TRUE(loaded.model.ok()) << loaded.model.status().to_string();
  const Blocks blocks = loaded.model->port.parts.front().blocks;
  std::cout << "blocks: " << planned_blocks.count << " planned, " << blocks.count << " measured\n";
  const auto left = kTotal - static_cast<int64_t>(cuda_emulator::device_memory_used());
  EXPECT_GE(left, 512 * kMib) << "held back";
  EXPECT_LT(left, 512 * kMib + 2 * kBlockBytes);
  ASSERT_EQ(loaded.entries.size(), 2U) << "as planned, then as measured";
  EXPECT_EQ(loaded.entries.front().endpoint->options().capacity, planned_blocks);
  EXPECT_EQ(loaded.entries.back().endpoint->options().capacity, blocks);
  EXPECT_EQ(loaded.model->engine->kv_blocks(), std::vector<Blocks>{blocks});

  loaded.model->engine.reset();
  model_.limits.max_units = 100;
  Loaded limited;
  load(limited);
  ASSERT_TRUE(limited.model.ok()) << limited.model.status().to_string();
  EXPECT_EQ(limited.model->port.parts.front().blocks, Blocks{100});
}

// The allocation of its KV memory fails once: another process has taken memory since it was
// measured. The weights stay where they are.
TEST_F(ModelLoaderTest, kv_that_nobody_configured_shrinks_where_memory_is_not_enough_after_all) {
  if (testing::is_sanitized()) GTEST_SKIP() << "in the plain build";
  cuda_emulator::set_device_memory(1024 * kMib);
  model_.params.kvcache_mem_gpu_mb.reset();
  model_.params.max_num_seqs = 2;
  model_.params.device = Device::cuda;
  const auto calls = [](const char* name) { return cuda_emulator::n_calls_by_name()[name]; };
  const int64_t before = calls("cudaMallocAsync");
  const int64_t copies_before = calls("cudaMemcpyAsync");
  Blocks whole;
  {
    Loaded loaded;
    load(loaded);
    ASSERT_TRUE(loaded.model.ok()) << loaded.model.status().to_string();
    whole = loaded.model->port.parts.front().blocks;
  }
  const int64_t n_allocations = calls("cudaMallocAsync") - before;  // KV memory is the last
  const int64_t copies = calls("cudaMemcpyAsync") - copies_before;
  cuda_emulator::inject({"cudaMallocAsync", n_allocations, cudaErrorMemoryAllocation});
  Loaded loaded;
  load(loaded);
  ASSERT_TRUE(loaded.model.ok()) << loaded.model.status().to_string();
  EXPECT_EQ(calls("cudaMemcpyAsync") - copies_before, 2 * copies) << "weights were loaded again";
  const Blocks shrunk = loaded.model->port.parts.front().blocks;
  std::cout << "blocks: " << whole.count << ", then " << shrunk.count << "\n";
  EXPECT_LT(shrunk, whole);
  EXPECT_EQ(shrunk.count, whole.count * 3 / 4);
  EXPECT_EQ(loaded.entries.back().endpoint->options().capacity, shrunk) << "the price list follows";
  loaded.model->engine.reset();

  // No more than three times, and what was configured is not given less.
  cuda_emulator::inject({"cudaMallocAsync", n_allocations, cudaErrorMemoryAllocation, 3});
  Loaded never;
  load(never);
  EXPECT_FALSE(never.model.ok());
  EXPECT_EQ(never.model.status().param(), "params.device");
  model_.params.kvcache_mem_gpu_mb = 16;
  cuda_emulator::inject({"cudaMallocAsync", n_allocations, cudaErrorMemoryAllocation});
  Loaded configured;
  load(configured);
  cuda_emulator::inject_nothing();
  EXPECT_FALSE(configured.model.ok());
}

// The pool keeps what is freed: a model that comes after another has to find it free.
TEST_F(ModelLoaderTest, what_a_model_leaves_is_free_for_the_next) {
  if (testing::is_sanitized()) GTEST_SKIP() << "in the plain build";
  cuda_emulator::set_device_memory(1024 * kMib);
  model_.params.kvcache_mem_gpu_mb.reset();
  model_.params.max_num_seqs = 2;
  model_.params.device = Device::cuda;
  Blocks blocks[2];
  for (Blocks& of_load : blocks) {
    Loaded loaded;
    load(loaded);
    ASSERT_TRUE(loaded.model.ok()) << loaded.model.status().to_string();
    of_load = loaded.model->port.parts.front().blocks;
  }
  EXPECT_EQ(blocks[0], blocks[1]);
}

// The first takes all but what is held back, which has room for a second one that says how much it
// wants.
TEST_F(ModelLoaderTest, two_models_share_a_device) {
  if (testing::is_sanitized()) GTEST_SKIP() << "in the plain build";
  cuda_emulator::set_device_memory(1024 * kMib);
  model_.params.kvcache_mem_gpu_mb.reset();
  Loaded first;
  Loaded second;
  load(first);
  model_.params.kvcache_mem_gpu_mb = 16;
  load(second);
  for (const Loaded* loaded : {&first, &second}) {
    ASSERT_TRUE(loaded->model.ok()) << loaded->model.status().to_string();
    for (const ModelEntry& entry : loaded->entries) {
      EXPECT_EQ(entry.backend, "cuda Emulated CUDA device bf16");
    }
  }
  const Blocks a = first.model->port.parts.front().blocks;
  const Blocks b = second.model->port.parts.front().blocks;
  std::cout << "blocks: " << a.count << " and " << b.count << "\n";
  EXPECT_EQ(b, Blocks{1024});
  EXPECT_GT(a, b);
}

}  // namespace
}  // namespace parkd
