// What parkd.live and parkd.workers are made of.
#include "daemon/live_status.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>

namespace parkd {
namespace {

namespace json = boost::json;

LiveJob live_job(JobId id, LivePhase phase) {
  LiveJob job;
  job.id = id;
  job.phase = phase;
  job.units = Blocks{9};
  if (phase == LivePhase::parked) job.waits_for = "needs 9 units, \"3\" are free";
  return job;
}

TEST(LiveStatus, says_phase_units_and_reason_of_each_job_and_the_state_of_each_pool) {
  DispatcherStats stats;
  stats.live = {live_job(4, LivePhase::parked), live_job(5, LivePhase::running),
                live_job(6, LivePhase::preparing)};
  ModelStats model;
  model.model = "m";
  model.state = ModelState::failed;
  model.failure = "a \"reason\"";
  model.capacity = Blocks{728};
  stats.models = {model};
  const json::value said = json::parse(render_live_status(stats));
  const json::array& jobs = said.at("jobs").as_array();
  ASSERT_EQ(jobs.size(), 3u);
  EXPECT_EQ(jobs[0].at("id").as_int64(), 5) << "running first";
  EXPECT_EQ(jobs[0].at("state").as_string(), "running");
  EXPECT_EQ(jobs[0].at("units").as_int64(), 9);
  EXPECT_EQ(jobs[1].at("reason").as_string(), "needs 9 units, \"3\" are free");
  EXPECT_FALSE(jobs[2].as_object().contains("units"))
      << "a job that is being tokenised has no price";
  EXPECT_EQ(said.at("jobs_left_out").as_int64(), 0);
  const json::value& pool = said.at("pools").at(0);
  EXPECT_EQ(pool.at("model").as_string(), "m");
  EXPECT_EQ(pool.at("state").as_string(), "failed");
  EXPECT_EQ(pool.at("failure").as_string(), "a \"reason\"");
  EXPECT_EQ(pool.at("capacity_units").as_int64(), 728);
}

TEST(LiveStatus, is_bounded_and_says_how_many_jobs_it_leaves_out) {
  DispatcherStats stats;
  for (JobId id = 1; id <= 2 * kLiveStatusJobsMax; ++id) {
    stats.live.push_back(
        live_job(id, id > kLiveStatusJobsMax + 3 ? LivePhase::parked : LivePhase::preparing));
  }
  stats.live.push_back(live_job(9999, LivePhase::running));
  const json::value said = json::parse(render_live_status(stats));
  const json::array& jobs = said.at("jobs").as_array();
  ASSERT_EQ(jobs.size(), kLiveStatusJobsMax);
  EXPECT_EQ(jobs[0].at("id").as_int64(), 9999) << "what runs is never left out for what waits";
  EXPECT_EQ(said.at("jobs_left_out").as_int64(),
            static_cast<int64_t>(2 * kLiveStatusJobsMax + 1 - kLiveStatusJobsMax));
}

TEST(LiveStatus, of_an_idle_daemon_without_models_is_json_too) {
  EXPECT_EQ(render_live_status({}), R"({"jobs":[],"jobs_left_out":0,"pools":[]})");
}

}  // namespace
}  // namespace parkd
