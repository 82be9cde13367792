// jobctl models add: what it tells of a file, registers, and writes into a configuration.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "lib/config/config.h"
#include "lib/model/content_hash.h"
#include "tests/e2e/child_process.h"
#include "tests/store/postgres/test_database.h"
#include "tests/support/hub_cache_folder.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

namespace parkd::testing {
namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != text.npos;
}

class JobctlModelsAdd : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(write_tiny_model(path("Tiny Llama.gguf"), {}).ok());
    const auto card = load_model_card(path("Tiny Llama.gguf"));
    ASSERT_TRUE(card.ok());
    hash_ = model_content_hash(**card, Dtype::bf16);
  }

  std::string path(const std::string& name) const { return directory_.path() + "/" + name; }
  std::string model() const { return path("Tiny Llama.gguf"); }
  std::string config(const std::string& text) const {
    std::ofstream(path("parkd.yaml"), std::ios::binary) << text;
    return path("parkd.yaml");
  }
  std::string config_now() const {
    std::ifstream file(path("parkd.yaml"), std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  JobctlResult add(std::vector<std::string> options) const {
    options.insert(options.begin(), {"models", "add"});
    return run_jobctl(options);
  }
  // What is expected in a file, with two spaces before the dash.
  std::string stanza(const std::string& name) const {
    return "  - name: \"" + name + "\"\n    local_path: \"" + model() +
           "\"\n    params:\n      dtype: bf16\n";
  }

  TempDir directory_;
  std::string hash_;
};

TEST_F(JobctlModelsAdd, it_tells_what_the_file_is_and_prints_a_stanza_that_parkd_reads) {
  const JobctlResult result = add({model()});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  for (const std::string& part : {std::string("tiny-llama"), std::string("llama"), hash_}) {
    EXPECT_TRUE(has(result.err, part)) << result.err;
  }
  const auto read = parse_config("models:\n" + result.out, "stanza");
  ASSERT_TRUE(read.ok()) << read.status().to_string() << "\n" << result.out;
  EXPECT_EQ(read->models.at(0).name, "tiny-llama");
  EXPECT_EQ(read->models.at(0).local_path, model());
  EXPECT_EQ(add({directory_.path(), "--name", "folder"}).exit_code, 0) << "a folder with one file";
}

TEST_F(JobctlModelsAdd, the_stanza_goes_to_the_end_of_the_list_and_nothing_else_changes) {
  const std::string before =
      "# mine\ndaemon:\n   state_dir:   ${PARKD_TEST_UNSET}   # odd spacing\n\nmodels:\n"
      "  # the first\n  - name: one\n    local_path:    /m/one.gguf\n\n# after the list\n";
  const std::string after = "\n# after the list\ndefault_model: one\n";
  const size_t end_of_list = before.find("\n# after the list");
  const std::string whole = before + "default_model: one\n";
  const JobctlResult result = add({model(), "--name", "two", "--config", config(whole)});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(config_now(), before.substr(0, end_of_list) + stanza("two") + after);
  const std::string once = config_now();
  const JobctlResult again = add({model(), "--name", "two", "--config", path("parkd.yaml")});
  EXPECT_EQ(again.exit_code, 4);
  EXPECT_TRUE(has(again.err, "has a model two already")) << again.err;
  EXPECT_EQ(config_now(), once);
}

TEST_F(JobctlModelsAdd, a_list_at_the_margin_or_without_a_last_newline_is_continued_as_it_is) {
  add({model(), "--name", "two", "--config",
       config("models:\n- name: one\n  local_path: /m/one.gguf")});
  const auto read = load_config(path("parkd.yaml"));
  ASSERT_TRUE(read.ok()) << read.status().to_string() << "\n" << config_now();
  EXPECT_EQ(read->models.size(), 2u);
  EXPECT_TRUE(has(config_now(), "\n- name: \"two\"\n")) << config_now();
}

TEST_F(JobctlModelsAdd, what_cannot_be_continued_safely_is_left_alone) {
  const std::string flow = "models: [{name: one, local_path: /m/one.gguf}]\n";
  const JobctlResult result = add({model(), "--config", config(flow)});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_TRUE(has(result.err, "by hand")) << result.err;
  EXPECT_EQ(config_now(), flow);
}

TEST_F(JobctlModelsAdd, bad_input_is_refused_with_a_reason) {
  const JobctlResult none = add({path("none.gguf")});
  EXPECT_EQ(none.exit_code, 4);
  EXPECT_TRUE(has(none.err, "there is no file or folder " + path("none.gguf"))) << none.err;
  EXPECT_EQ(add({model(), "--dtype", "int3"}).exit_code, 2);
  EXPECT_EQ(add({model(), "--name", "has spaces"}).exit_code, 2);
  std::ofstream(path("second.gguf")) << "no model";
  EXPECT_EQ(add({path("second.gguf")}).exit_code, 2) << "not a GGUF file";
  const JobctlResult two = add({directory_.path()});
  EXPECT_EQ(two.exit_code, 2);
  EXPECT_TRUE(has(two.err, "holds 2 GGUF files")) << two.err;
}

class JobctlModelsAddHfId : public JobctlModelsAdd {
 protected:
  void SetUp() override {
    JobctlModelsAdd::SetUp();
    hub_.ref("main", kCommit);
  }
  void fetched(const std::string& file) const {
    std::filesystem::copy_file(model(), hub_.link(kCommit, file));
  }
  JobctlResult jobctl(std::vector<std::string> options) const {
    return run_jobctl(options, "", {"HF_HUB_CACHE=" + hub_.folder()});
  }
  std::string pinned(const std::string& file) const { return "Org/Tiny@" + kCommit + ":" + file; }

  const std::string kCommit = HubCacheFolder::commit('c');
  HubCacheFolder hub_{path("hub"), "Org/Tiny"};
};

TEST_F(JobctlModelsAddHfId, it_finds_the_file_in_the_cache_registers_it_and_writes_the_commit) {
  fetched("Tiny.F32.gguf");
  TestDatabase database;
  const JobctlResult result =
      jobctl({"--dsn", database.dsn(), "models", "add", "Org/Tiny", "--config",
              config("models:\n  - name: one\n    local_path: /m/one.gguf\n")});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_TRUE(has(result.err, (hub_.snapshot(kCommit) / "Tiny.F32.gguf").string())) << result.err;
  EXPECT_EQ(database.value("SELECT content_hash FROM parkd.models WHERE name = 'tiny.f32'"), hash_)
      << "named after the repository's file, not after the blob";
  const auto read = load_config(path("parkd.yaml"));
  ASSERT_TRUE(read.ok()) << read.status().to_string();
  EXPECT_EQ(read->models.at(1).hf_id, pinned("Tiny.F32.gguf"));
  EXPECT_EQ(read->models.at(1).local_path, "");
  const JobctlResult doctor = jobctl({"doctor", "--config", path("parkd.yaml")});
  EXPECT_TRUE(has(doctor.out + doctor.err, pinned("Tiny.F32.gguf"))) << doctor.out << doctor.err;
}

TEST_F(JobctlModelsAddHfId, what_it_cannot_choose_or_find_is_said) {
  fetched("a.gguf");
  fetched("b.gguf");
  const JobctlResult two = jobctl({"models", "add", "Org/Tiny"});
  EXPECT_EQ(two.exit_code, 2);
  EXPECT_TRUE(has(two.err, ": a.gguf, b.gguf; name one, Org/Tiny:a.gguf")) << two.err;
  const JobctlResult one = jobctl({"models", "add", "Org/Tiny:b.gguf"});
  EXPECT_EQ(one.exit_code, 0) << one.err;
  EXPECT_TRUE(has(one.out, "hf_id: \"" + pinned("b.gguf") + "\"")) << one.out;
  const JobctlResult absent = jobctl({"models", "add", "Org/Other"});
  EXPECT_EQ(absent.exit_code, 4);
  EXPECT_TRUE(has(absent.err, "hf download Org/Other FILE.gguf")) << absent.err;
  EXPECT_TRUE(has(absent.err, "Looked in " + hub_.folder() + ", by HF_HUB_CACHE")) << absent.err;
}

TEST_F(JobctlModelsAdd, it_registers_the_content_hash_and_refuses_another_under_the_name) {
  TestDatabase database;
  const auto registered = [&](std::vector<std::string> options) {
    options.insert(options.begin(), {"--dsn", database.dsn(), "models", "add", model()});
    return run_jobctl(options);
  };
  const JobctlResult first = registered({"--name", "t"});
  ASSERT_EQ(first.exit_code, 0) << first.err;
  EXPECT_EQ(database.value("SELECT content_hash FROM parkd.models WHERE name = 't'"), hash_);
  EXPECT_GT(database.number("SELECT context_tokens FROM parkd.models WHERE name = 't'"), 0);
  EXPECT_EQ(registered({"--name", "t"}).exit_code, 0) << "the same again";
  const std::string text = "models:\n  - name: one\n    local_path: /m/one.gguf\n";
  const JobctlResult other =
      registered({"--name", "t", "--dtype", "f32", "--config", config(text)});
  EXPECT_EQ(other.exit_code, 4);
  EXPECT_TRUE(has(other.err, "another content hash")) << other.err;
  EXPECT_EQ(config_now(), text) << "what the database refuses is not written";
  EXPECT_TRUE(has(run_jobctl({"--dsn", database.dsn(), "models"}).out, hash_));
}

}  // namespace
}  // namespace parkd::testing
