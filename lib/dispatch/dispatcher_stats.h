// What the dispatcher shows of itself: values, made by its thread, read by any.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/clock.h"
#include "lib/base/units.h"
#include "lib/job/job_id.h"

namespace parkd {

// unloaded: it is loaded when there is work for it, and room. unloading: it claims nothing more,
// and what runs of it ends.
enum class ModelState { loading, ready, failed, unloaded, unloading };
std::string_view to_string(ModelState state);

// Where a claimed job is: being tokenised, waiting for units, in the engine, or ending (its answer
// is being written or stored; its units are back).
enum class LivePhase { preparing, parked, running, ending };
inline constexpr size_t kLivePhases = 4;
std::string_view to_string(LivePhase phase);

struct LiveJob {
  JobId id = 0;
  LivePhase phase = LivePhase::preparing;
  Blocks units;           // its price; zero while preparing. Charged while running
  WallTime since{};       // in this phase
  std::string waits_for;  // parked: why it does not run yet, for people; else empty
};

// Upper bounds in seconds of the finish latency buckets (created or run_at to stored); the last
// bucket, past the end, has no bound.
inline constexpr std::array<double, 12> kFinishLatencyBoundsSeconds = {
    0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60, 300, 1800, 3600, 21600};

struct ModelStats {
  std::string model;
  ModelState state = ModelState::loading;
  std::string failure;  // why the state is failed; else empty

  Blocks capacity;
  Blocks in_use;
  Blocks peak;
  int32_t block_size = 0;  // tokens
  int32_t lot_places = 0;
  int32_t max_num_seqs = 0;

  // Kept for callers that wait (limits.interactive_reserve), and of that in use.
  struct Reserve {
    Blocks units;
    Blocks units_in_use;
    int64_t sequences = 0;
    int64_t sequences_in_use = 0;
  };
  Reserve reserve;

  int32_t preparing = 0;
  int32_t parked = 0;
  int32_t running = 0;
  int32_t running_sequences = 0;  // choices of the running jobs
  int32_t ending = 0;

  // Since the start of the process. Counted when the store has answered.
  std::map<std::string, int64_t> outcomes;  // completed, cancelled, ..., failed:<code>
  int64_t claimed = 0;
  int64_t claimed_small = 0;    // of them: past a lot full of larger ones
  int64_t claimed_awaited = 0;  // of them: by name, as their callers wait
  int64_t given_back = 0;       // parked jobs of tenants with many places, when others had few
  int64_t passed_units = 0;     // of jobs that started past a held one
  int64_t started_of_kept = 0;  // with some of what is kept
  int64_t retried = 0;          // runs that failed and were released for another attempt
  int64_t leases_lost = 0;      // endings the store had no use for
  int64_t prompt_tokens = 0;
  int64_t shared_tokens = 0;  // of the choices' prompts: found in the KV cache, not computed
  int64_t output_tokens = 0;
  int64_t steps_repeated = 0;  // of the engines: as EngineStats
  int64_t steps_failed = 0;
  std::array<int64_t, kFinishLatencyBoundsSeconds.size() + 1> finish_latency{};
  double finish_latency_sum_s = 0;
};

struct DispatcherStats {
  std::vector<ModelStats> models;  // by name
  std::vector<LiveJob> live;       // by id
  int64_t unstored_endings = 0;    // waiting for the store to take them
  bool store_trouble = false;      // the store's last answer was a failure
  bool draining = false;
  bool drained = false;  // draining, and nothing claimed is left

  const ModelStats* model(std::string_view name) const;
  const LiveJob* find(JobId id) const;
};

}  // namespace parkd
