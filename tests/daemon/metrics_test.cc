#include "daemon/api/metrics.h"

#include <gtest/gtest.h>

#include <map>
#include <sstream>

namespace parkd {
namespace {

ModelStats some_model(const std::string& name) {
  ModelStats model;
  model.model = name;
  model.state = ModelState::ready;
  model.capacity = Blocks{728};
  model.in_use = Blocks{17};
  model.outcomes = {{"completed", 5}, {"failed:run_timeout", 2}};
  model.steps_repeated = 4;
  model.steps_failed = 1;
  model.finish_latency[0] = 3;
  model.finish_latency[2] = 1;
  model.finish_latency.back() = 1;
  model.finish_latency_sum_s = 12.5;
  return model;
}

// The page's samples: "name{labels}" -> value.
std::map<std::string, std::string> samples(const std::string& page) {
  std::map<std::string, std::string> found;
  std::istringstream lines(page);
  for (std::string line; std::getline(lines, line);) {
    if (line.empty() || line.front() == '#') continue;
    const size_t space = line.rfind(' ');
    EXPECT_TRUE(found.emplace(line.substr(0, space), line.substr(space + 1)).second)
        << line << " is there twice";
  }
  return found;
}

TEST(Metrics, each_family_stands_once_and_samples_carry_model_and_code) {
  StoreStats store;
  ModelDepth depth;
  depth.model = "a";
  depth.queued = 4;
  const WallTime now = from_unix_us(1'800'000'000'000'000);
  depth.oldest_created_at = now - std::chrono::seconds(90);
  store.models = {depth};
  store.syncs = 11;
  store.sessions = 7;
  store.uncertain_finishes = 2;
  store.fence_epoch = 3;
  store.webhooks_pending = 8;
  DispatcherStats dispatcher;
  dispatcher.models = {some_model("a"), some_model("b")};
  ModelTable models;
  models["a"].backend = "cpu avx2 bf16";
  models["b"].device_refused = true;
  models["b"].degraded = "it does not answer";
  models["a"].stay.in_memory = true;
  models["a"].memory.kv = 5000;
  models["a"].stay.loads = 3;
  models["a"].stay.switches = 2;
  models["b"].memory.kv = 7000;
  models["b"].stay.waits_since = now - std::chrono::seconds(8);
  models["b"].files_differ = true;
  ApiFigures api;
  api.files = {12, 3456, 2};
  api.webhooks = {4, 5, 6};
  const std::string page =
      render_metrics(store, dispatcher, models, {{"clock_skew", "", false}}, api, now);

  std::map<std::string, int> types;
  std::istringstream lines(page);
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind("# TYPE ", 0) == 0) ++types[line.substr(7, line.find(' ', 7) - 7)];
  }
  EXPECT_GT(types.size(), 10u);
  for (const auto& [name, count] : types) EXPECT_EQ(count, 1) << name;

  auto found = samples(page);
  EXPECT_EQ(found["parkd_queue_depth{model=\"a\",state=\"queued\"}"], "4");
  EXPECT_EQ(found["parkd_queue_oldest_age_seconds{model=\"a\"}"], "90");
  EXPECT_EQ(found["parkd_units_in_use{model=\"b\"}"], "17");
  EXPECT_EQ(found["parkd_units_capacity{model=\"b\"}"], "728");
  EXPECT_EQ(found["parkd_steps_repeated_total{model=\"b\"}"], "4");
  EXPECT_EQ(found["parkd_steps_failed_total{model=\"b\"}"], "1");
  EXPECT_EQ(found["parkd_store_fsyncs_total"], "11");
  EXPECT_EQ(found["parkd_files"], "12");
  EXPECT_EQ(found["parkd_file_bytes"], "3456");
  EXPECT_EQ(found["parkd_uploads"], "2");
  EXPECT_EQ(found["parkd_webhooks_pending"], "8");
  EXPECT_EQ(found["parkd_webhook_deliveries_total{result=\"delivered\"}"], "4");
  EXPECT_EQ(found["parkd_webhook_deliveries_total{result=\"failed\"}"], "5");
  EXPECT_EQ(found["parkd_webhook_deliveries_total{result=\"given_up\"}"], "6");
  EXPECT_EQ(found["parkd_store_sessions_opened_total"], "7");
  EXPECT_EQ(found["parkd_store_uncertain_finishes_total"], "2");
  EXPECT_EQ(found["parkd_store_fence_epoch"], "3");
  EXPECT_EQ(found["parkd_notice{code=\"clock_skew\"}"], "1");
  EXPECT_EQ(found["parkd_model_files_differ{model=\"b\"}"], "1");
  EXPECT_EQ(found["parkd_model_backend{model=\"a\",backend=\"cpu avx2 bf16\"}"], "1");
  EXPECT_EQ(found["parkd_model_device_refused{model=\"b\"}"], "1");
  EXPECT_EQ(found["parkd_model_degraded{model=\"a\"}"], "0");
  EXPECT_EQ(found["parkd_model_degraded{model=\"b\"}"], "1");
  EXPECT_EQ(found["parkd_model_memory_bytes{model=\"a\"}"], "5000");
  EXPECT_EQ(found["parkd_model_memory_bytes{model=\"b\"}"], "0") << "it is not loaded";
  EXPECT_EQ(found["parkd_model_waiting_seconds{model=\"b\"}"], "8");
  EXPECT_EQ(found["parkd_model_loads_total{model=\"a\"}"], "3");
  EXPECT_EQ(found["parkd_model_switches_total{model=\"a\"}"], "2");
  EXPECT_EQ(found["parkd_jobs_finished_total{model=\"a\",outcome=\"failed\",code=\"run_timeout\"}"],
            "2");
}

TEST(Metrics, the_latency_histogram_is_cumulative_and_ends_in_its_count) {
  DispatcherStats dispatcher;
  dispatcher.models = {some_model("a")};
  auto found = samples(render_metrics({}, dispatcher, {}, {}, {}, from_unix_us(0)));
  const std::string bucket = "parkd_finish_latency_seconds_bucket{model=\"a\",le=\"";
  EXPECT_EQ(found[bucket + "0.01\"}"], "3");
  EXPECT_EQ(found[bucket + "0.05\"}"], "3");
  EXPECT_EQ(found[bucket + "0.1\"}"], "4");
  EXPECT_EQ(found[bucket + "21600\"}"], "4");
  EXPECT_EQ(found[bucket + "+Inf\"}"], "5");
  EXPECT_EQ(found["parkd_finish_latency_seconds_count{model=\"a\"}"], "5");
  EXPECT_EQ(found["parkd_finish_latency_seconds_sum{model=\"a\"}"], "12.5");
}

}  // namespace
}  // namespace parkd
