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

}  // namespace
}  // namespace parkd
