// Several models of which not all fit into daemon.memory_mb: who is loaded, who waits, who
// switches.
#include <gtest/gtest.h>
#include <signal.h>

#include <fstream>
#include <string>
#include <vector>

#include "tests/e2e/child_process.h"
#include "tests/e2e/jobs.h"
#include "tests/support/needs_plain_memory.h"
#include "tests/support/tiny_model.h"

namespace parkd::testing {
namespace {

// Two models, "tiny" and "second", alike but for their weights.
class TwoModels {
 public:
  explicit TwoModels(int context_tokens = 2048) : daemon_(setup_of(context_tokens)) {
    TinyModelOptions second;
    second.type = TensorType::q4_1;
    second.seed = 2;
    second.context_tokens = context_tokens;
    EXPECT_TRUE(write_tiny_model(daemon_.directory() + "/second.gguf", second).ok());
    std::ofstream(daemon_.config_path(), std::ios::app)
        << "  - name: second\n    local_path: " << daemon_.directory()
        << "/second.gguf\n    params: {kvcache_mem_cpu: " << context_tokens / 128
        << ", max_num_seqs: 2}\n";
    std::ifstream file(daemon_.config_path());
    config_ = {std::istreambuf_iterator<char>(file), {}};
  }

  // Restarts it with room for one of them, and these lines of the configuration.
  void start_with_room_for_one(const std::string& switch_wait_s, const std::string& more = "") {
    ASSERT_TRUE(daemon_.start()) << daemon_.log();
    ASSERT_TRUE(wait_for("tiny", "ready")) << daemon_.log();
    const int64_t bytes = memory_of("tiny");
    ASSERT_GT(bytes, int64_t{16} << 20) << "the KV cache alone";
    daemon_.kill();
    set_memory((bytes + bytes / 2) >> 20, switch_wait_s, more);
    ASSERT_TRUE(daemon_.start()) << daemon_.log();
  }

  void set_memory(int64_t mb, const std::string& switch_wait_s, const std::string& more = "") {
    std::ofstream(daemon_.config_path())
        << more << "daemon:\n  memory_mb: " << mb << "\n  switch_wait_s: " << switch_wait_s
        << config_.substr(std::string("daemon:").size());
  }

  json::value model(const std::string& name) {
    const HttpAnswer answer = must(daemon_.client()->get("/v1/models"));
    for (const json::value& each : find(answer.json, "data")->get_array()) {
      if (text_at(each, "id") == name) return each;
    }
    ADD_FAILURE() << name << " is not in " << answer.text;
    return {};
  }
  std::string state(const std::string& name) { return text_at(model(name), "state"); }
  int64_t memory_of(const std::string& name) {
    return number_at(*find(model(name), "memory"), "bytes");
  }
  // Of the two, the one that the start found room for: whichever was opened first.
  std::string wait_for_one() {
    std::string loaded;
    EXPECT_TRUE(daemon_.wait_until([&] {
      for (const char* name : {"tiny", "second"}) {
        if (state(name) == "ready") loaded = name;
      }
      return !loaded.empty();
    }));
    return loaded;
  }
  static std::string other_than(const std::string& name) {
    return name == "tiny" ? "second" : "tiny";
  }
  // Loaded once at least, and unloaded again.
  bool wait_until_left(const std::string& name) {
    return daemon_.wait_until([&] {
      const json::value seen = model(name);
      return number_at(seen, "loads") > 0 && text_at(seen, "state") == "unloaded";
    });
  }
  bool wait_for(const std::string& name, const std::string& wanted) {
    return daemon_.wait_until([&] { return state(name) == wanted; });
  }
  double metric(const std::string& sample) {
    const std::string page = must(daemon_.client()->get("/metrics")).text;
    const size_t at = page.find("\n" + sample + " ");
    if (at == std::string::npos) return -1;
    return std::stod(page.substr(at + sample.size() + 2));
  }
  int64_t submit_to(const std::string& name, json::object job) {
    job["model"] = name;
    return submit(*daemon_.client(), job);
  }

  DaemonProcess& daemon() { return daemon_; }

 private:
  static DaemonSetup setup_of(int context_tokens) {
    DaemonSetup setup;
    setup.context_tokens = context_tokens;
    setup.drain_timeout_s = 1000;
    return setup;
  }

  DaemonProcess daemon_;
  std::string config_;
};

TEST(ModelTurns, two_models_of_which_one_fits_both_get_their_jobs_done) {
  TwoModels models;
  models.start_with_room_for_one("1");
  ASSERT_TRUE(models.daemon().wait_until([&] {
    return models.daemon().log().find("models.take_turns") != std::string::npos;
  })) << models.daemon().log();
  constexpr int kJobs = 12;
  for (int i = 0; i < kJobs; ++i) {
    models.submit_to(i % 2 == 0 ? "tiny" : "second", chat_job("box"));
  }
  const auto client = models.daemon().client();
  const json::array messages = wait_for_messages(*client, "box", kJobs);
  for (const json::value& message : messages) EXPECT_EQ(text_at(message, "outcome"), "completed");
  EXPECT_EQ(must(client->get("/readyz")).status, 200);
  EXPECT_GE(models.metric("parkd_model_loads_total{model=\"tiny\"}"), 1);
  EXPECT_GE(models.metric("parkd_model_loads_total{model=\"second\"}"), 1);
  EXPECT_GE(models.metric("parkd_model_switches_total{model=\"tiny\"}") +
                models.metric("parkd_model_switches_total{model=\"second\"}"),
            1);
  const double used = models.metric("parkd_model_memory_bytes{model=\"tiny\"}") +
                      models.metric("parkd_model_memory_bytes{model=\"second\"}");
  EXPECT_GT(used, 0);
  EXPECT_LE(used, models.metric("parkd_memory_budget_bytes"));
  EXPECT_NE(models.daemon().log().find("model.unloaded"), std::string::npos);
  models.daemon().signal(SIGTERM);
  EXPECT_TRUE(models.daemon().wait_for_end(std::chrono::seconds(280)));
}

TEST(ModelTurns, a_start_loads_the_model_whose_jobs_wait) {
  for (const std::string name : {"tiny", "second"}) {
    TwoModels models(8192);
    models.set_memory(4096, "86400");
    ASSERT_TRUE(models.daemon().start()) << models.daemon().log();
    ASSERT_TRUE(models.wait_for(name, "ready")) << models.daemon().log();
    const int64_t bytes = models.memory_of(name);
    constexpr int kLongJobs = 20;  // a second each at least, so that some are left
    for (int i = 0; i < kLongJobs; ++i) {
      json::object long_job = chat_job("box", 8000);
      long_job["body"].as_object()["n"] = 2;
      models.submit_to(name, long_job);
    }
    models.daemon().kill();
    models.set_memory((bytes + bytes / 2) >> 20, "86400");
    ASSERT_TRUE(models.daemon().start()) << models.daemon().log();
    ASSERT_TRUE(models.wait_for(name, "ready")) << models.daemon().log();
    EXPECT_EQ(number_at(models.model(TwoModels::other_than(name)), "loads"), 0)
        << models.daemon().log();
    models.daemon().kill();
  }
}

TEST(ModelTurns, a_model_that_is_not_loaded_prices_and_refuses_submits_at_once) {
  TwoModels models(8192);
  models.start_with_room_for_one("86400");
  const std::string loaded = models.wait_for_one();
  const std::string other = TwoModels::other_than(loaded);
  ASSERT_TRUE(models.wait_for(other, "unloaded"));
  json::object long_job = chat_job("long", 8000);
  const int64_t running = models.submit_to(loaded, long_job);
  const auto client = models.daemon().client();

  const int64_t waiting = models.submit_to(other, chat_job("short"));
  json::object bad = chat_job("short");
  bad["model"] = other;
  bad["body"].as_object()["temperature"] = 9;
  EXPECT_EQ(must(client->post("/v1/jobs", bad)).status, 400);
  json::object large = chat_job("short");
  large["body"] = chat_body(std::string(50'000, 'x'), 4);
  large["model"] = other;
  const HttpAnswer too_large = must(client->post("/v1/jobs", large));
  EXPECT_EQ(too_large.status, 400) << too_large.text;
  const HttpAnswer job = must(client->get("/v1/jobs/" + std::to_string(waiting)));
  EXPECT_EQ(text_at(job.json, "state"), "queued");
  EXPECT_NE(text_at(job.json, "waits_for").find("waits for room"), std::string::npos) << job.text;
  EXPECT_EQ(must(client->get("/readyz")).status, 200);

  // The one that is loaded makes room once it is idle, however long switch_wait_s is.
  must(client->post("/v1/jobs/" + std::to_string(running) + "/cancel", json::object()));
  EXPECT_EQ(text_at(wait_for_messages(*client, "short", 1)[0], "outcome"), "completed");
  EXPECT_EQ(models.state(loaded), "unloaded");
}

TEST(ModelTurns, a_kill_in_the_middle_of_a_switch_loses_nothing) {
  TwoModels models(8192);
  models.start_with_room_for_one("1");
  const std::string loaded = models.wait_for_one();
  constexpr int kLongJobs = 40;  // a second each at least, so that some are left when it is time
  std::vector<int64_t> long_jobs;
  for (int i = 0; i < kLongJobs; ++i) {
    json::object long_job = chat_job("box", 8000);
    long_job["body"].as_object()["n"] = 2;
    long_jobs.push_back(models.submit_to(loaded, long_job));
  }
  const int64_t other = models.submit_to(TwoModels::other_than(loaded), chat_job("box"));
  ASSERT_TRUE(models.wait_for(loaded, "unloading")) << models.daemon().log();
  models.daemon().kill();
  ASSERT_TRUE(models.daemon().start()) << models.daemon().log();
  const auto client = models.daemon().client();
  for (const int64_t id : long_jobs) {
    const std::string path = "/v1/jobs/" + std::to_string(id);
    EXPECT_EQ(must(client->get(path)).status, 200) << "it is there, live or ended";
    must(client->post(path + "/cancel", json::object()));
  }
  const json::array messages = wait_for_messages(*client, "box", kLongJobs + 1);
  for (const json::value& message : messages) {
    const std::string outcome = text_at(message, "outcome");
    const bool may_be_cancelled = number_at(message, "id") != other;
    EXPECT_TRUE(outcome == "completed" || (may_be_cancelled && outcome == "cancelled")) << outcome;
  }
}

TEST(ModelTurns, an_idle_model_is_unloaded_and_comes_back_for_its_next_job) {
  TwoModels models;
  models.set_memory(4096, "600", "idle_unload_secs: 1\n");
  ASSERT_TRUE(models.daemon().start()) << models.daemon().log();
  ASSERT_TRUE(models.wait_until_left("tiny")) << models.daemon().log();
  ASSERT_TRUE(models.wait_until_left("second"));
  EXPECT_EQ(models.metric("parkd_model_memory_bytes{model=\"tiny\"}"), 0);
  const int64_t loads = number_at(models.model("tiny"), "loads");
  EXPECT_EQ(must(models.daemon().client()->get("/readyz")).status, 200);
  models.submit_to("tiny", chat_job("box"));
  const auto client = models.daemon().client();
  EXPECT_EQ(text_at(wait_for_messages(*client, "box", 1)[0], "outcome"), "completed");
  EXPECT_EQ(number_at(models.model("tiny"), "loads"), loads + 1);
}

TEST(ModelTurns, a_model_that_does_not_fit_alone_is_refused_with_both_numbers) {
  TwoModels models;
  models.set_memory(1, "600");
  ChildProcess check({PARKD_BINARY, "--config", models.daemon().config_path(), "--check-config"});
  EXPECT_EQ(check.wait(), 2);
  EXPECT_NE(check.err().find("models may take 1 MiB"), std::string::npos) << check.err();
  ASSERT_TRUE(models.daemon().start()) << models.daemon().log();
  ASSERT_TRUE(models.wait_for("tiny", "failed"));
  const std::string failure = text_at(models.model("tiny"), "failure");
  EXPECT_NE(failure.find("daemon.memory_mb"), std::string::npos) << failure;
  EXPECT_NE(failure.find("models may take 1 MiB"), std::string::npos) << failure;
}

TEST(ModelTurns, files_that_were_written_over_in_place_are_not_loaded_again) {
  TwoModels models;
  models.set_memory(4096, "600", "idle_unload_secs: 1\n");
  ASSERT_TRUE(models.daemon().start()) << models.daemon().log();
  ASSERT_TRUE(models.wait_until_left("tiny")) << models.daemon().log();
  TinyModelOptions other;
  other.type = TensorType::q4_1;
  other.seed = 99;
  const std::vector<uint8_t> bytes = make_tiny_model(other);
  std::fstream file(models.daemon().directory() + "/tiny.gguf",
                    std::ios::in | std::ios::out | std::ios::binary);
  file.write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
  file.close();
  models.submit_to("tiny", chat_job("box"));
  ASSERT_TRUE(models.wait_for("tiny", "failed")) << models.daemon().log();
  const std::string failure = text_at(models.model("tiny"), "failure");
  EXPECT_NE(failure.find("written over"), std::string::npos) << failure;
}

// Bytes of the process's memory that no file is behind.
int64_t anonymous_bytes(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/status");
  std::string word;
  int64_t kib = 0;
  while (file >> word) {
    if (word == "RssAnon:" && file >> kib) return kib << 10;
  }
  return 0;
}

TEST(ModelTurns, what_is_computed_is_about_what_the_process_takes) {
  PARKD_NEEDS_PLAIN_MEMORY();
  TwoModels models;
  TinyModelOptions large;
  large.type = TensorType::q8_0;
  large.hidden = 512;
  large.ffn = 2048;
  large.n_layers = 6;
  large.n_heads = 8;
  large.head_dim = 64;
  ASSERT_TRUE(write_tiny_model(models.daemon().directory() + "/second.gguf", large).ok());
  models.set_memory(4096, "600", "idle_unload_secs: 1\n");
  ASSERT_TRUE(models.daemon().start()) << models.daemon().log();
  ASSERT_TRUE(models.wait_until_left("second")) << models.daemon().log();
  ASSERT_TRUE(models.wait_until_left("tiny"));
  const int64_t without = anonymous_bytes(models.daemon().pid());
  json::object job = chat_job("box", 150);  // so that it is there while it is looked at
  models.submit_to("second", job);
  const int64_t weights = number_at(*find(models.model("second"), "memory"), "weights");
  ASSERT_GT(weights, int64_t{20} << 20);
  EXPECT_TRUE(models.daemon().wait_until([&] {
    return anonymous_bytes(models.daemon().pid()) - without > weights * 9 / 10;
  })) << models.daemon().log();
  EXPECT_LE(anonymous_bytes(models.daemon().pid()) - without,
            models.memory_of("second") + (int64_t{32} << 20));
  ASSERT_TRUE(models.wait_until_left("second")) << models.daemon().log();
  EXPECT_LE(anonymous_bytes(models.daemon().pid()) - without, weights / 2) << "given back";
}

}  // namespace
}  // namespace parkd::testing
