// A daemon on directories as the hub lays them out: the two that the examples of the design
// document name, every family, broken ones, and files that change under a loaded model.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <iterator>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/main_memory.h"
#include "tests/e2e/jobs.h"
#include "tests/support/hub_cache_folder.h"
#include "tests/support/hub_layouts.h"
#include "tests/support/tiny_model.h"

namespace parkd::testing {
namespace {

namespace fs = std::filesystem;

std::string text_of_file(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// A daemon whose models: section is the test's.
class HubDaemon {
 public:
  std::string directory() const { return daemon_.directory(); }
  DaemonProcess& process() { return daemon_; }

  std::string folder(const std::string& name) const {
    const std::string path = directory() + "/" + name;
    fs::create_directories(path);
    return path;
  }
  void configure(const std::string& models) const {
    std::ofstream(daemon_.config_path())
        << models << "\ndaemon:\n  state_dir: " << directory()
        << "/state\n  socket: " << daemon_.socket() << "\n  min_free_disk_mb: 1\n";
  }
  // Waits until no model is loading any more.
  json::value models() {
    json::value all;
    EXPECT_TRUE(daemon_.wait_until([&] {
      const auto answer = daemon_.client()->get("/v1/models");
      if (!answer.ok() || answer->status != 200) return false;
      all = answer->json;
      return answer->text.find("\"state\":\"loading\"") == std::string::npos &&
             answer->text.find("\"state\":\"") != std::string::npos;
    })) << daemon_.log();
    return all;
  }
  static json::value model_of(const json::value& models, const std::string& name) {
    for (const json::value& each : models.at("data").as_array()) {
      if (text_at(each, "id") == name) return each;
    }
    ADD_FAILURE() << "no model " << name << " in " << models;
    return json::object();
  }
  // The message that a chat ends in.
  json::value chat(const std::string& model, const std::string& text) {
    json::object job;
    job["body"] = chat_body(text, 6);
    job["body"].as_object()["temperature"] = 0;
    job["body"].as_object()["model"] = model;
    job["mailbox_key"] = "of-" + std::to_string(++n_chats_);
    const auto client = daemon_.client();
    submit(*client, job);
    const json::array messages =
        wait_for_messages(*client, std::string(job["mailbox_key"].as_string()), 1);
    return messages.empty() ? json::value(json::object()) : messages.at(0);
  }

 private:
  DaemonProcess daemon_{DaemonSetup{}};
  int n_chats_ = 0;
};

std::string answer_of(const json::value& message) {
  EXPECT_EQ(text_at(message, "outcome"), "completed") << message;
  return jobctl::answer_text(message);
}

int64_t prompt_tokens_of(const json::value& message) {
  return number_at(message, "response.body.usage.prompt_tokens");
}

// One of the design document's examples, and the repository that it names.
struct Example {
  const char* name;
  const char* file;
  const char* hf_id;
  const char* model;
  HubFiles (*repository)();
  int64_t units;
  int64_t context_tokens;
  int64_t prompt_tokens;  // of "hello", by the repository's template and tokenizer
  const char* left_out;
};

// <s> [SYSTEM_PROMPT] "Think" "." " " [THINK] "Your" " draft" "." [/THINK] "Your" " answer" "."
// [/SYSTEM_PROMPT] [INST] "hello" [/INST], of which words are: T h in k; Y ou r; " " d r a f t;
// " a" n s w er; hello.
constexpr Example kMinistral3 = {"ministral3",
                                 "design_document_1.yaml",
                                 "mistralai/Ministral-3-3B-Reasoning-2512",
                                 "mistral-3-ministral-3B-reasoning",
                                 ministral3_repository,
                                 1260,
                                 262144,
                                 2 + 4 + 1 + 1 + 1 + 3 + 6 + 1 + 1 + 3 + 5 + 1 + 1 + 1 + 1 + 1,
                                 "left out: all but the text model"};
// <s> [INST] "_" "hello" [/INST]
constexpr Example kMistral7b = {"mistral7b",
                                "design_document_2.yaml",
                                "mistralai/Mistral-7B-Instruct-v0.3",
                                "mistral-7b",
                                mistral7b_repository,
                                2048,
                                32768,
                                5,
                                ""};

enum class Source { hub_cache, local_path };

class DesignDocument : public ::testing::TestWithParam<std::tuple<Example, Source>> {};

TEST_P(DesignDocument, its_example_loads_what_it_names_chats_and_has_the_units_that_it_states) {
  const auto& [example, source] = GetParam();
  constexpr int64_t kNeeded = int64_t{9} << 30;  // 8 GiB of KV memory, most of it never touched
  if (main_memory_bytes() < kNeeded) {
    GTEST_SKIP() << "SKIPPED LOUDLY: the example's KV memory is 8 GiB, this machine has "
                 << (main_memory_bytes() >> 20) << " MiB";
  }
  HubDaemon daemon;
  std::string config =
      text_of_file(std::string(PARKD_SOURCE_DIR "/tests/config/examples/") + example.file);
  DaemonProcess::Environment environment;
  if (source == Source::hub_cache) {
    const std::string commit = HubCacheFolder::commit('a');
    const HubCacheFolder hub(daemon.folder("hub"), example.hf_id);
    hub.ref("main", commit);
    hub.fill(commit, example.repository());
    environment["HF_HUB_CACHE"] = hub.folder();
  } else {
    const std::string path = daemon.folder("model");
    ASSERT_TRUE(write_files(path, example.repository()).ok());
    const std::string id = std::string("hf_id: ") + example.hf_id;
    ASSERT_NE(config.find(id), std::string::npos);
    config.insert(config.find(id), "local_path: " + path + "\n    ");
  }
  daemon.configure(config);
  ASSERT_TRUE(daemon.process().start(environment)) << daemon.process().log();
  const json::value model = HubDaemon::model_of(daemon.models(), example.model);
  ASSERT_EQ(text_at(model, "state"), "ready") << model << daemon.process().log();
  EXPECT_EQ(number_at(model, "capacity_units"), example.units);
  EXPECT_EQ(number_at(model, "block_size"), 32);
  EXPECT_EQ(number_at(model, "context_tokens"), example.context_tokens);
  EXPECT_NE(text_at(model, "description").find("BF16"), std::string::npos);
  EXPECT_NE(text_at(model, "description").find(example.left_out), std::string::npos) << model;

  const json::value first = daemon.chat(example.model, "hello");
  EXPECT_FALSE(answer_of(first).empty());
  EXPECT_EQ(prompt_tokens_of(first), example.prompt_tokens);
  EXPECT_EQ(prompt_tokens_of(daemon.chat(example.model, "hello</s>")), example.prompt_tokens + 4)
      << "what a user's text spells is never a control token";
  EXPECT_EQ(answer_of(daemon.chat(example.model, "hello")), answer_of(first));
}

INSTANTIATE_TEST_SUITE_P(Of, DesignDocument,
                         ::testing::Combine(::testing::Values(kMinistral3, kMistral7b),
                                            ::testing::Values(Source::hub_cache,
                                                              Source::local_path)),
                         [](const auto& which) {
                           return std::string(std::get<0>(which.param).name) +
                                  (std::get<1>(which.param) == Source::hub_cache ? "_by_hf_id"
                                                                                 : "_by_path");
                         });

std::string model_lines(const std::string& name, const std::string& path) {
  return "  - name: " + name + "\n    local_path: " + path +
         "\n    params: {kvcache_mem_cpu: 16, max_num_seqs: 2}\n";
}

TEST(HubDirectory, mistrals_tokenizer_model_gives_the_tokens_of_its_tokenizer_json) {
  HubDaemon daemon;
  HubFiles files = mistral7b_repository();
  files.erase("tokenizer.json");
  const std::string path = daemon.folder("model");
  ASSERT_TRUE(write_files(path, files).ok());
  daemon.configure("parking_lot: {pool: {worker_threads: 1}}\nmodels:\n" + model_lines("m", path));
  ASSERT_TRUE(daemon.process().start()) << daemon.process().log();
  const json::value models = daemon.models();
  ASSERT_EQ(text_at(HubDaemon::model_of(models, "m"), "state"), "ready") << models;
  EXPECT_EQ(prompt_tokens_of(daemon.chat("m", "hello")), kMistral7b.prompt_tokens);
}

TEST(HubDirectory, every_family_chats_from_one) {
  HubDaemon daemon;
  std::string config = "parking_lot: {pool: {worker_threads: 1}}\nmodels:\n";
  for (const std::string& family : tiny_family_names()) {
    TinyModelOptions options;
    options.architecture = family;
    options.type = TensorType::bf16;
    options.n_shards = 2;
    ASSERT_TRUE(write_tiny_folder(daemon.folder(family), options).ok());
    config += model_lines(family, daemon.folder(family));
  }
  daemon.configure(config);
  ASSERT_TRUE(daemon.process().start()) << daemon.process().log();
  const json::value models = daemon.models();
  for (const std::string& family : tiny_family_names()) {
    ASSERT_EQ(text_at(HubDaemon::model_of(models, family), "state"), "ready") << models;
    EXPECT_FALSE(answer_of(daemon.chat(family, "Say something.")).empty()) << family;
  }
}

// A directory that cannot be a model, and what is said of it.
struct Broken {
  const char* name;
  std::function<void(const std::string& path)> spoil;
  std::string said;
};

void replace_in(const std::string& path, const std::string& from, const std::string& to) {
  std::string text = text_of_file(path);
  ASSERT_NE(text.find(from), std::string::npos) << path;
  text.replace(text.find(from), from.size(), to);
  std::ofstream(path, std::ios::trunc) << text;
}

const std::vector<Broken>& broken_directories() {
  static const std::string kFirst = "/model-00001-of-00002.safetensors";
  static const std::string kSecond = "/model-00002-of-00002.safetensors";
  static const std::string kIndex = "/model.safetensors.index.json";
  static const std::vector<Broken> kAll = {
      {"a_missing_shard", [](const std::string& path) { fs::remove(path + kSecond); },
       "names model-00002-of-00002.safetensors, which is not there"},
      {"a_cut_shard",
       [](const std::string& path) {
         fs::resize_file(path + kFirst, fs::file_size(path + kFirst) - 1000);
       },
       "is cut off"},
      {"a_shard_cut_to_nothing", [](const std::string& path) { fs::resize_file(path + kFirst, 0); },
       "cannot be mapped"},
      {"a_huge_header",
       [](const std::string& path) {
         std::ofstream(path + kFirst, std::ios::binary | std::ios::in)
             .write("\xff\xff\xff\xff\xff\xff\xff\x7f", 8);
       },
       "9223372036854775807"},
      {"other_widths",
       [](const std::string& path) {
         replace_in(path + "/config.json", "\"intermediate_size\":96", "\"intermediate_size\":128");
       },
       "mlp.gate_proj.weight"},
      {"more_layers",
       [](const std::string& path) {
         replace_in(path + "/config.json", "\"num_hidden_layers\":2", "\"num_hidden_layers\":3");
       },
       "model.layers.2."},
      {"no_tokenizer", [](const std::string& path) { fs::remove(path + "/tokenizer.json"); },
       "there is no tokenizer.json, tekken.json or tokenizer.model"},
      {"a_cut_tokenizer",
       [](const std::string& path) { fs::resize_file(path + "/tokenizer.json", 400); },
       "tokenizer.json"},
      {"a_broken_configuration",
       [](const std::string& path) { std::ofstream(path + "/config.json") << "{\"model_type\":"; },
       "config.json"},
      {"an_unknown_family",
       [](const std::string& path) {
         replace_in(path + "/config.json", "\"model_type\":\"llama\"", "\"model_type\":\"bert\"");
       },
       "model_type \"bert\" is not supported yet"},
      {"an_index_that_leads_away",
       [](const std::string& path) {
         replace_in(path + kIndex, "model-00001-of-00002.safetensors",
                    "../sound/model-00001-of-00002.safetensors");
       },
       "which must be the name of a .safetensors file of the same directory"},
      {"a_shard_that_is_a_link_to_nothing",
       [](const std::string& path) {
         fs::remove(path + kSecond);
         fs::create_symlink("../blobs/gone", path + kSecond);
       },
       "names model-00002-of-00002.safetensors, which is not there"},
      {"a_tensor_in_two_shards",
       [](const std::string& path) {
         fs::copy_file(path + kFirst, path + kSecond, fs::copy_options::overwrite_existing);
       },
       "by it"},
      {"a_broken_template",
       [](const std::string& path) {
         std::ofstream(path + "/chat_template.jinja") << "{% for message in messages %}";
       },
       "chat template: the template, line 1: the template ends where endfor or else is missing"},
  };
  return kAll;
}

TEST(HubDirectory, a_broken_one_is_one_line_in_the_log_in_readyz_and_in_models) {
  HubDaemon daemon;
  std::string config = "parking_lot: {pool: {worker_threads: 1}}\nmodels:\n";
  TinyModelOptions options;
  options.n_shards = 2;
  const HubFiles sound = make_tiny_folder(options);
  const auto add = [&](const std::string& name) {
    ASSERT_TRUE(write_files(daemon.folder(name), sound).ok());
    config += model_lines(name, daemon.folder(name));
  };
  add("sound");
  for (const Broken& broken : broken_directories()) {
    add(broken.name);
    broken.spoil(daemon.folder(broken.name));
  }
  daemon.configure(config);
  ASSERT_TRUE(daemon.process().start()) << daemon.process().log();
  const json::value models = daemon.models();
  EXPECT_EQ(text_at(HubDaemon::model_of(models, "sound"), "state"), "ready");
  const HttpAnswer ready = must(daemon.process().client()->get("/readyz"));
  EXPECT_EQ(ready.status, 200) << "one model is there";
  EXPECT_TRUE(flag_at(ready.json, "degraded"));
  for (const Broken& broken : broken_directories()) {
    const json::value model = HubDaemon::model_of(models, broken.name);
    EXPECT_EQ(text_at(model, "state"), "failed") << broken.name;
    const std::string failure(text_at(model, "failure"));
    EXPECT_NE(failure.find(broken.said), std::string::npos) << broken.name << ": " << failure;
    EXPECT_NE(failure.find(daemon.folder(broken.name)), std::string::npos) << failure;
    EXPECT_EQ(failure.find('\n'), std::string::npos) << failure;
    EXPECT_LT(failure.size(), 600U) << failure;
    EXPECT_NE(ready.text.find(json::serialize(json::value(failure))), std::string::npos)
        << broken.name << ": " << ready.text;
    const std::string log = daemon.process().log();
    const size_t at = log.find(std::string("model.failed model=") + broken.name + " ");
    ASSERT_NE(at, std::string::npos) << broken.name << "\n" << log;
    EXPECT_EQ(log.find(std::string("model.failed model=") + broken.name + " ", at + 1),
              std::string::npos)
        << "said twice";
  }
  EXPECT_FALSE(answer_of(daemon.chat("sound", "Say something.")).empty());
}

TEST(HubDirectory, a_loaded_model_answers_alike_when_its_files_are_cut_changed_and_deleted) {
  HubDaemon daemon;
  TinyModelOptions options;
  options.n_shards = 2;
  const std::string path = daemon.folder("model");
  ASSERT_TRUE(write_tiny_folder(path, options).ok());
  daemon.configure("parking_lot: {pool: {worker_threads: 1}}\nmodels:\n" + model_lines("m", path));
  ASSERT_TRUE(daemon.process().start()) << daemon.process().log();
  daemon.process().wait_for_model();
  const std::string answer = answer_of(daemon.chat("m", "Say something."));
  ASSERT_FALSE(answer.empty());
  const std::string shard = path + "/model-00001-of-00002.safetensors";
  {
    std::ofstream file(shard, std::ios::binary | std::ios::in);
    file.seekp(4096);
    file.write(std::string(20000, '\x7f').data(), 20000);
  }
  EXPECT_EQ(answer_of(daemon.chat("m", "Say something.")), answer) << "changed";
  fs::resize_file(shard, 100);  // what is mapped of it is gone: to read there is SIGBUS
  EXPECT_EQ(answer_of(daemon.chat("m", "Say something.")), answer) << "cut";
  fs::resize_file(path + "/tokenizer.json", 0);
  fs::remove_all(path);
  EXPECT_EQ(answer_of(daemon.chat("m", "Say something.")), answer) << "deleted";
  EXPECT_EQ(must(daemon.process().client()->get("/readyz")).status, 200);

  // The next start says what is left.
  daemon.process().kill();
  ASSERT_TRUE(daemon.process().start()) << daemon.process().log();
  const json::value model = HubDaemon::model_of(daemon.models(), "m");
  EXPECT_EQ(text_at(model, "state"), "failed");
  EXPECT_NE(text_at(model, "failure").find(path), std::string::npos) << model;
}

}  // namespace
}  // namespace parkd::testing
