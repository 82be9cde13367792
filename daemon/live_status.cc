#include "daemon/live_status.h"

#include <algorithm>
#include <array>
#include <vector>

#include "daemon/models/pool_json.h"
#include "lib/base/json_writer.h"

namespace parkd {
namespace {

constexpr std::array<LivePhase, kLivePhases> kMostTellingFirst = {
    LivePhase::running, LivePhase::parked, LivePhase::ending, LivePhase::preparing};

std::vector<const LiveJob*> chosen(const std::vector<LiveJob>& live) {
  std::vector<const LiveJob*> jobs;
  for (const LivePhase phase : kMostTellingFirst) {
    for (const LiveJob& job : live) {
      if (jobs.size() == kLiveStatusJobsMax) return jobs;
      if (job.phase == phase) jobs.push_back(&job);
    }
  }
  return jobs;
}

void write_job(JsonWriter& json, const LiveJob& job) {
  json.begin_object().member("id", job.id).member("state", to_string(job.phase));
  if (job.phase != LivePhase::preparing) json.member("units", job.units.count);
  if (!job.waits_for.empty()) json.member("reason", job.waits_for);
  json.end_object();
}

}  // namespace

std::string render_live_status(const DispatcherStats& stats) {
  const std::vector<const LiveJob*> jobs = chosen(stats.live);
  JsonWriter json;
  json.begin_object().begin_array("jobs");
  for (const LiveJob* job : jobs) write_job(json, *job);
  json.end_array().member("jobs_left_out", stats.live.size() - jobs.size()).begin_array("pools");
  for (const ModelStats& model : stats.models) {
    json.begin_object();
    write_pool_members(json, model);
    json.end_object();
  }
  return json.end_array().end_object().take();
}

}  // namespace parkd
