// What the configured models come to together on this machine.
#include "lib/backend/models_outlook.h"

#include <gtest/gtest.h>

#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

namespace parkd {
namespace {

TEST(ModelsOutlook, what_does_not_fit_alone_is_refused_with_both_numbers) {
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

TEST(ModelsOutlook, models_that_take_turns_are_named) {
  const int64_t gib = int64_t{1} << 30;
  EXPECT_EQ(describe_turns({{"a", gib}, {"b", gib}}, 2 * gib), "");
  const std::string turns = describe_turns({{"a", gib}, {"b", gib}}, 2 * gib - 1);
  for (const char* part : {"a 1024 MiB", "b 1024 MiB", "2048 MiB", "turns"}) {
    EXPECT_NE(turns.find(part), std::string::npos) << turns;
  }
}

TEST(ModelsOutlook, the_budget_is_the_keys_or_four_fifths_of_what_is_available) {
  DaemonConfig daemon;
  const int64_t by_itself = memory_budget_bytes(daemon);
  EXPECT_GT(by_itself, 0);
  daemon.memory_mb = 100;
  EXPECT_EQ(memory_budget_bytes(daemon), int64_t{100} << 20);
}

TEST(ModelsOutlook, each_configured_model_is_looked_at_and_those_together) {
  const TempDir directory;
  const std::string path = directory.path() + "/tiny.gguf";
  ASSERT_TRUE(testing::write_tiny_model(path, {}).ok());
  Config config;
  config.daemon.memory_mb = 6;
  for (const char* name : {"a", "b", "large", "lost"}) {
    ModelConfig model;
    model.name = name;
    model.local_path = path;
    model.params.device = Device::cpu;
    model.params.kvcache_mem_cpu_mb = 2;
    model.params.max_num_seqs = 1;
    model.pool.worker_threads = 1;
    config.models.push_back(model);
  }
  config.models[2].params.kvcache_mem_cpu_mb = 64;
  config.models[3].local_path = directory.path() + "/lost.gguf";
  const ModelsOutlook found = look_at_models(config);
  ASSERT_EQ(found.models.size(), 4U);
  for (const size_t i : {0, 1}) {
    EXPECT_EQ(found.models[i].config, &config.models[i]);
    ASSERT_TRUE(found.models[i].outlook.ok()) << found.models[i].outlook.status().to_string();
    EXPECT_EQ(found.models[i].memory.kv, int64_t{2} << 20);
    EXPECT_TRUE(found.models[i].fits.ok()) << found.models[i].fits.to_string();
    const std::string line = describe(found.models[i], config);
    EXPECT_NE(line.find(", 1 sequences at once, steps of 512 tokens; "), std::string::npos) << line;
    EXPECT_EQ(found.models[i].on_cuda, "") << "it is not asked for";
  }
  EXPECT_EQ(found.models[2].fits.code(), StatusCode::exhausted);
  EXPECT_EQ(found.models[3].outlook.status().param(), "local_path");
  EXPECT_NE(found.turns.find("take turns"), std::string::npos) << found.turns;
  EXPECT_EQ(found.turns.find("lost"), std::string::npos) << found.turns;
}

}  // namespace
}  // namespace parkd
