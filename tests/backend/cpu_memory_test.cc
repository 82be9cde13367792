// What is computed of a model's memory before it is loaded is what loading it takes.
#include "lib/backend/cpu/cpu_memory.h"

#include <gtest/gtest.h>

#include "lib/backend/cpu/cpu_backend.h"
#include "lib/model/model.h"
#include "lib/model/model_outlook.h"
#include "tests/support/tiny_model.h"

namespace parkd {
namespace {

ModelConfig config_of(Dtype dtype) {
  ModelConfig model;
  model.name = "m";
  model.params.dtype = dtype;
  model.params.max_num_seqs = 3;
  model.pool.worker_threads = 2;
  return model;
}

// Of the backend after a load.
void expect_true(const ModelCard& card, Dtype dtype) {
  constexpr int64_t kBlocks = 5;
  const ModelConfig model = config_of(dtype);
  CpuBackendOptions options;
  options.shape = card.shape;
  options.dtype = dtype;
  auto backend = make_cpu_backend(options);
  ASSERT_TRUE(backend.ok()) << backend.status().to_string();
  ASSERT_TRUE(load_weights(card, **backend, {}).ok());
  ASSERT_TRUE((*backend)->allocate_kv(kBlocks, model.params.block_size).ok());
  const CpuMemory memory = cpu_memory_of(model, card, Blocks{kBlocks}, 64);
  EXPECT_EQ(memory.weights, (*backend)->weight_bytes());
  EXPECT_EQ(memory.kv, (*backend)->kv_bytes());
  EXPECT_GT(memory.buffers, 0);
}

TEST(CpuMemory, what_is_computed_is_what_a_load_takes_for_every_family_and_type) {
  for (const std::string& family : testing::tiny_family_names()) {
    for (const TensorType type :
         {TensorType::f32, TensorType::bf16, TensorType::q4_1, TensorType::q8_0}) {
      for (const Dtype dtype : {Dtype::bf16, Dtype::f32}) {
        SCOPED_TRACE(family + " " + std::to_string(static_cast<int>(type)));
        testing::TinyModelOptions options;
        options.architecture = family;
        options.type = type;
        options.tied = dtype == Dtype::f32;
        expect_true(*testing::tiny_model_card(options), dtype);
      }
    }
  }
  testing::TinyModelOptions options;
  options.architecture = "qwen2";
  expect_true(*testing::tiny_folder_card(options), Dtype::bf16);
}

TEST(CpuMemory, buffers_grow_with_workers_and_rows) {
  const auto card = testing::tiny_model_card();
  ModelConfig model = config_of(Dtype::bf16);
  const int64_t two = cpu_memory_of(model, *card, Blocks{1}, 64).buffers;
  model.pool.worker_threads = 4;
  EXPECT_EQ(cpu_memory_of(model, *card, Blocks{1}, 64).buffers, 2 * two);
  model.pool.worker_threads = 2;
  EXPECT_GT(cpu_memory_of(model, *card, Blocks{1}, 128).buffers, two);
}

TEST(CpuMemory, what_does_not_fit_alone_is_refused_with_both_numbers) {
  CpuMemory memory;
  memory.weights = int64_t{3} << 30;
  memory.kv = int64_t{1} << 30;
  EXPECT_TRUE(check_fits_alone("big", memory, int64_t{4} << 30).ok());
  const Status refused = check_fits_alone("big", memory, int64_t{2} << 30);
  EXPECT_EQ(refused.code(), StatusCode::exhausted);
  for (const char* part : {"big", "4096 MiB", "3072 MiB", "2048 MiB", "daemon.memory_mb"}) {
    EXPECT_NE(refused.message().find(part), std::string::npos) << refused.message();
  }
}

TEST(CpuMemory, models_that_take_turns_are_named) {
  const int64_t gib = int64_t{1} << 30;
  EXPECT_EQ(describe_turns({{"a", gib}, {"b", gib}}, 2 * gib), "");
  const std::string turns = describe_turns({{"a", gib}, {"b", gib}}, 2 * gib - 1);
  for (const char* part : {"a 1024 MiB", "b 1024 MiB", "2048 MiB", "turns"}) {
    EXPECT_NE(turns.find(part), std::string::npos) << turns;
  }
}

TEST(CpuMemory, the_budget_is_the_keys_or_four_fifths_of_what_is_available) {
  DaemonConfig daemon;
  const int64_t by_itself = memory_budget_bytes(daemon);
  EXPECT_GT(by_itself, 0);
  daemon.memory_mb = 100;
  EXPECT_EQ(memory_budget_bytes(daemon), int64_t{100} << 20);
}

}  // namespace
}  // namespace parkd
