// jobctl models check: what it says of a model before it is loaded, and of one that would not load.
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "tests/e2e/child_process.h"
#include "tests/e2e/jobs.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

namespace parkd::testing {
namespace {

JobctlResult check(std::vector<std::string> options, bool as_json = false) {
  options.insert(options.begin(), {"models", "check"});
  if (as_json) options.insert(options.begin(), "--json");
  return run_jobctl(options);
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(ModelsCheck, a_sound_model_is_told_with_its_memory_and_units) {
  TempDir directory;
  const std::string file = directory.path() + "/tiny.gguf";
  ASSERT_TRUE(write_tiny_model(file, {}).ok());
  const JobctlResult result = check({file, "--kvcache-mem-cpu", "16", "--context", "100"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  for (const char* part :
       {"llama, 2 layers", "F32 x", "KV cache 16", "there is one", "a job of 100 tokens takes 4"}) {
    EXPECT_TRUE(has(result.out, part)) << part << " in\n" << result.out;
  }
}

TEST(ModelsCheck, it_computes_what_the_daemon_computes) {
  DaemonProcess daemon(DaemonSetup{});
  ASSERT_TRUE(daemon.start()) << daemon.log();
  daemon.wait_for_model();
  const HttpAnswer models = must(daemon.client()->get("/v1/models"));
  const json::value& served = find(models.json, "data")->get_array().at(0);
  const JobctlResult result = check(
      {daemon.directory() + "/tiny.gguf", "--kvcache-mem-cpu", "16", "--max-num-seqs", "2"}, true);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const json::value said = json::parse(result.out);
  EXPECT_TRUE(flag_at(said, "loads"));
  EXPECT_TRUE(flag_at(said, "chat_template"));
  EXPECT_EQ(number_at(said, "capacity_units"), number_at(served, "capacity_units"));
  const json::value& memory = *find(said, "memory");
  const json::value& there = *find(served, "memory");
  EXPECT_EQ(number_at(memory, "weights"), number_at(there, "weights"));
  EXPECT_EQ(number_at(memory, "kv"), number_at(there, "kv"));
  EXPECT_EQ(text_at(said, "family"), text_at(served, "family"));
}

TEST(ModelsCheck, what_would_not_load_ends_with_the_reason_and_an_exit_code) {
  TempDir directory;
  const std::string file = directory.path() + "/tiny.gguf";
  ASSERT_TRUE(write_tiny_model(file, {}).ok());
  const JobctlResult large = check({file, "--memory-mb", "1"});
  EXPECT_EQ(large.exit_code, 4);
  EXPECT_TRUE(has(large.err, "models may take 1 MiB")) << large.err;
  EXPECT_TRUE(has(large.out, "memory ")) << "it is told all the same: " << large.out;

  const JobctlResult none = check({directory.path() + "/none.gguf"}, true);
  EXPECT_EQ(none.exit_code, 4) << none.err;
  const json::value said = json::parse(none.out);
  EXPECT_FALSE(flag_at(said, "loads"));
  EXPECT_TRUE(has(text_at(said, "error"), "none.gguf")) << none.out;

  const std::string folder = directory.path() + "/hub";
  ASSERT_TRUE(std::filesystem::create_directory(folder));
  TinyModelOptions options;
  options.architecture = "qwen3";
  ASSERT_TRUE(write_tiny_folder(folder, options).ok());
  EXPECT_EQ(check({folder}).exit_code, 0);
  std::filesystem::remove(folder + "/tokenizer.json");
  const JobctlResult mute = check({folder});
  EXPECT_NE(mute.exit_code, 0);
  EXPECT_TRUE(has(mute.err, "tokenizer.json")) << mute.err;
  EXPECT_EQ(check({file, "--dtype", "f8"}).exit_code, 2);
}

}  // namespace
}  // namespace parkd::testing
