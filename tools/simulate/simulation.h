// Simulation: the engine's Scheduler, Sequence and KvCache and the dispatcher's ResourcePool, run
// against a clock that step_cost and SharedDevice move. No tensor is computed and no thread
// started.
//
// What it does as the daemon does: jobs start in order of arrival as soon as the pool has their
// blocks and a sequence slot for them; a lane plans a step whenever fewer than two of its steps are
// under way (a device lane is one step ahead), so that an end is seen one step late; a new job goes
// to the lane with the fewest tokens ahead of it. What it leaves out: the store, tokenising, the
// host's work between steps (it overlaps the device's), buckets of graphs, shared prefixes, answers
// that end before their limit.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "lib/base/units.h"
#include "tools/simulate/arrivals.h"
#include "tools/simulate/shared_device.h"
#include "tools/simulate/sheets.h"
#include "tools/simulate/step_cost.h"

namespace parkd::simulate {

enum class Lanes {
  one,            // prompts and decodes in the same steps
  two_equal,      // two of these, each with its own jobs
  decodes_first,  // one computes prompts and hands over, one decodes and has priority
  roles_equal,    // the same without priority
};

struct EngineSetup {
  ModelSheet model;
  DeviceSheet device;
  Reached reached;
  Lanes lanes = Lanes::one;
  Overlap overlap = Overlap::in_turn;
  int32_t max_num_seqs = 16;  // of all lanes together
  int32_t step_tokens = 512;  // of a lane's step
  int32_t block_size = 32;
  Blocks kv_blocks;
  double reserve = 0.125;     // of units and sequences, for callers that wait
  bool callers_wait = false;  // the jobs may use it
};

struct Outcome {
  double seconds = 0;  // from the first arrival to the last end
  int64_t n_steps = 0;
  int64_t prompt_tokens = 0;             // computed
  int64_t new_tokens = 0;                // answered
  int64_t unused_rows = 0;               // computed for sequences that had ended
  Blocks blocks_peak;                    // charged at once
  double backlog_s = 0;                  // until no job waited to start
  int64_t backlog_tokens = 0;            // answered until then
  std::vector<double> first_token_s;     // a job: from its arrival, waiting included
  std::vector<double> between_tokens_s;  // each further token: since the one before

  // Answered while there was more to start: the device is as full as it gets.
  double tokens_per_s() const { return double(backlog_tokens) / backlog_s; }
};

// Runs all jobs to their ends. Requires: jobs in order of arrival, each of which fits into the
// pool. CHECKs what the engine CHECKs: a block that was not charged for is never taken.
Outcome simulate(const EngineSetup& setup, std::span<const Job> jobs);

// `share` of them are this long or shorter; `values` are put in order. 0 where there are none.
double percentile(std::vector<double>& values, double share);

}  // namespace parkd::simulate
