#include "daemon/live_status.h"

#include <algorithm>
#include <array>
#include <vector>

#include "lib/base/text.h"

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

std::string render_job(const LiveJob& job) {
  std::string out = "{\"id\":" + std::to_string(job.id) + ",\"state\":\"" +
                    std::string(to_string(job.phase)) + "\"";
  if (job.phase != LivePhase::preparing) out += ",\"units\":" + std::to_string(job.units.count);
  if (!job.waits_for.empty()) {
    out += ",\"reason\":";
    append_json_string(out, job.waits_for);
  }
  return out + "}";
}

std::string render_pool(const ModelStats& model) {
  std::string out = "{\"model\":";
  append_json_string(out, model.model);
  out += ",\"state\":\"" + std::string(to_string(model.state)) + "\"";
  if (!model.failure.empty()) {
    out += ",\"failure\":";
    append_json_string(out, model.failure);
  }
  const auto number = [&](const char* key, int64_t value) {
    out += std::string(",\"") + key + "\":" + std::to_string(value);
  };
  number("capacity_units", model.capacity.count);
  number("in_use_units", model.in_use.count);
  number("parked", model.parked);
  number("running", model.running);
  number("lot_places", model.lot_places);
  number("max_num_seqs", model.max_num_seqs);
  return out + "}";
}

template <class List, class Render>
std::string render_list(const List& list, Render&& render) {
  std::string out = "[";
  for (const auto& entry : list) {
    if (out.back() != '[') out += ',';
    out += render(entry);
  }
  return out + "]";
}

}  // namespace

std::string render_live_status(const DispatcherStats& stats) {
  const std::vector<const LiveJob*> jobs = chosen(stats.live);
  return "{\"jobs\":" + render_list(jobs, [](const LiveJob* job) { return render_job(*job); }) +
         ",\"jobs_left_out\":" + std::to_string(stats.live.size() - jobs.size()) +
         ",\"pools\":" + render_list(stats.models, render_pool) + "}";
}

}  // namespace parkd
