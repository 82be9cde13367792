#include "tools/simulate/simulation.h"

#include <algorithm>
#include <array>
#include <deque>
#include <limits>
#include <memory>
#include <optional>

#include "lib/base/check.h"
#include "lib/engine/generation.h"
#include "lib/engine/kv_cache.h"
#include "lib/engine/scheduler.h"
#include "lib/engine/sequence.h"
#include "lib/pool/resource_pool.h"

namespace parkd::simulate {
namespace {

constexpr size_t kStepsUnderWay = 2;  // Lane::steps_ahead() of a device, and the one that runs
constexpr TokenId kToken = 1;         // every token of every text

// A job that was started. Sequence refers to the request, so it stays where it was made.
struct Running {
  Running(const Job& from, Charge taken, KvCache& cache)
      : job(from),
        charge(std::move(taken)),
        request(request_of(from)),
        sequence(request, 0, cache.reserve(charge.blocks(), {})) {}

  static GenerationRequest request_of(const Job& job) {
    GenerationRequest request;
    request.prompts.front().tokens.assign(static_cast<size_t>(job.prompt_tokens), kToken);
    request.prompts.front().max_new_tokens = job.new_tokens;
    return request;
  }
  int64_t tokens_left() const { return job.prompt_tokens + job.new_tokens - sequence.n_computed(); }

  const Job& job;
  Charge charge;
  const GenerationRequest request;
  Sequence sequence;
  double last_token_s = 0;
};

struct Member {
  Running* running = nullptr;
  int32_t n_tokens = 0;
  bool sample = false;
};

struct Step {
  std::vector<Member> members;
  StepCost cost;
};

struct Lane {
  bool takes_prompts = true;
  bool takes_decodes = true;
  bool goes_first = false;
  std::vector<std::unique_ptr<Running>> running;  // in order of arrival here
  std::deque<Step> steps;                         // begun; the first is on the device
  int64_t n_steps = 0;
};

std::vector<Lane> make_lanes(Lanes lanes) {
  std::vector<Lane> made(lanes == Lanes::one ? 1 : 2);
  if (lanes == Lanes::decodes_first || lanes == Lanes::roles_equal) {
    made[0].takes_decodes = false;
    made[1].takes_prompts = false;
    made[1].goes_first = lanes == Lanes::decodes_first;
  }
  return made;
}

class Simulation {
 public:
  Simulation(const EngineSetup& setup, std::span<const Job> jobs)
      : setup_(setup),
        jobs_(jobs),
        scheduler_({setup.step_tokens, 0}),
        kv_cache_(setup.kv_blocks, setup.block_size, false),
        pool_({{{setup.kv_blocks, setup.max_num_seqs}}, setup.reserve}),
        lanes_(make_lanes(setup.lanes)),
        device_(setup.overlap, static_cast<int32_t>(lanes_.size())) {}

  Outcome run() {
    for (;;) {
      start_jobs();
      for (size_t i = 0; i < lanes_.size(); ++i) begin_steps(i);
      if (!pass_time()) break;
    }
    PARKD_CHECK(next_job_ == jobs_.size(), "every job was started");
    for (const Lane& lane : lanes_) PARKD_CHECK(lane.running.empty(), "every job has ended");
    outcome_.seconds = now_;
    outcome_.blocks_peak = pool_.peak();
    return std::move(outcome_);
  }

 private:
  void start_jobs() {
    for (; next_job_ < jobs_.size() && jobs_[next_job_].arrival_s <= now_; ++next_job_) {
      const Job& job = jobs_[next_job_];
      const Blocks cost{ceil_div(job.prompt_tokens + job.new_tokens, setup_.block_size)};
      const Purse purse = setup_.callers_wait ? Purse::all : Purse::common;
      std::optional<Charge> charge = pool_.try_charge(cost, 1, purse);
      if (!charge) return;
      lane_of_next().running.push_back(
          std::make_unique<Running>(job, std::move(*charge), kv_cache_));
      outcome_.backlog_s = now_;
      outcome_.backlog_tokens = outcome_.new_tokens;
    }
  }

  // As LocalEngine::start.
  Lane& lane_of_next() {
    Lane* least = nullptr;
    int64_t least_tokens = std::numeric_limits<int64_t>::max();
    for (Lane& lane : lanes_) {
      if (!lane.takes_prompts) continue;
      int64_t n_tokens = 0;
      for (const auto& running : lane.running) n_tokens += running->tokens_left();
      if (n_tokens < least_tokens) {
        least = &lane;
        least_tokens = n_tokens;
      }
    }
    return *least;
  }

  void begin_steps(size_t index) {
    Lane& lane = lanes_[index];
    while (lane.steps.size() < kStepsUnderWay) {
      Step step = plan(lane);
      if (step.members.empty()) break;
      lane.steps.push_back(std::move(step));
    }
    const auto number = static_cast<int32_t>(index);
    if (lane.steps.empty() || device_.is_busy(number)) return;
    device_.begin(number, lane.steps.front().cost, lane.goes_first);
  }

  // As EngineWorker::begin_step.
  Step plan(Lane& lane) {
    std::vector<Running*> candidates;
    std::vector<SequenceProgress> progress;
    for (const auto& running : lane.running) {
      if (!running->sequence.wants_step()) continue;
      const SequenceProgress how = running->sequence.progress();
      if (how.decoding && !lane.takes_decodes) continue;
      candidates.push_back(running.get());
      progress.push_back(how);
    }
    const BatchPlan plan = scheduler_.plan(progress);
    Step step;
    if (plan.entries.empty()) return step;
    ++lane.n_steps;
    ++outcome_.n_steps;
    StepWork work;
    for (const BatchPlan::Entry& entry : plan.entries) {
      const auto at = static_cast<size_t>(entry.sequence);
      begin(*candidates[at], entry, progress[at].decoding, lane.n_steps, work, step);
    }
    step.cost = cost_of(work, setup_.model, setup_.device, setup_.reached);
    return step;
  }

  void begin(Running& running, const BatchPlan::Entry& entry, bool decoding, int64_t number,
             StepWork& work, Step& step) {
    const int64_t before = running.sequence.n_computed();
    tokens_.clear();
    running.sequence.begin_step(entry.n_tokens, number, tokens_);
    if (entry.sample) {
      (void)running.sequence.begin_sample(static_cast<int32_t>(work.logit_rows++));
    }
    if (decoding) {
      ++work.decode_rows;
      work.decode_context_tokens += before + 1;
    } else {
      const int64_t n = entry.n_tokens;
      work.prompt_rows += n;
      work.prompt_context_tokens += n * before + n * (n + 1) / 2;
      outcome_.prompt_tokens += n;
    }
    step.members.push_back({&running, entry.n_tokens, entry.sample});
  }

  // To the next end of a step, or the next arrival where none runs. False at the end.
  bool pass_time() {
    const std::optional<double> next_end = device_.next_end();
    std::optional<double> next_arrival;
    if (next_job_ < jobs_.size() && jobs_[next_job_].arrival_s > now_) {
      next_arrival = jobs_[next_job_].arrival_s - now_;
    }
    if (!next_end && !next_arrival) return false;
    const double seconds = !next_arrival                            ? *next_end
                           : next_end && *next_end <= *next_arrival ? *next_end
                                                                    : *next_arrival;
    now_ = next_arrival && seconds == *next_arrival ? jobs_[next_job_].arrival_s : now_ + seconds;
    for (const int32_t lane : device_.advance(seconds)) collect(lanes_[static_cast<size_t>(lane)]);
    return true;
  }

  // As EngineWorker::collect_step.
  void collect(Lane& lane) {
    const Step step = std::move(lane.steps.front());
    lane.steps.pop_front();
    for (const Member& member : step.members) {
      member.running->sequence.end_step(member.n_tokens);
      if (member.sample) append(*member.running);
    }
    for (size_t i = 0; i < lane.running.size();) {
      std::unique_ptr<Running>& running = lane.running[i];
      const Sequence& sequence = running->sequence;
      const bool idle = sequence.steps_under_way() == 0;
      const bool handed_over = idle && !lane.takes_decodes && sequence.n_generated() > 0;
      if (!handed_over && !(idle && sequence.finished())) {
        ++i;
        continue;
      }
      if (!sequence.finished()) lanes_.back().running.push_back(std::move(running));
      lane.running.erase(lane.running.begin() + static_cast<std::ptrdiff_t>(i));
    }
  }

  void append(Running& running) {
    if (running.sequence.finished()) {
      ++outcome_.unused_rows;
      return running.sequence.drop_sampled();
    }
    if (running.sequence.n_generated() == 0) {
      outcome_.first_token_s.push_back(now_ - running.job.arrival_s);
    } else {
      outcome_.between_tokens_s.push_back(now_ - running.last_token_s);
    }
    running.last_token_s = now_;
    ++outcome_.new_tokens;
    running.sequence.append({kToken, 0, {}}, {});
  }

  const EngineSetup& setup_;
  const std::span<const Job> jobs_;
  const Scheduler scheduler_;
  KvCache kv_cache_;
  ResourcePool pool_;
  std::vector<Lane> lanes_;
  SharedDevice device_;
  Outcome outcome_;
  double now_ = 0;
  size_t next_job_ = 0;
  std::vector<TokenId> tokens_;
};

}  // namespace

Outcome simulate(const EngineSetup& setup, std::span<const Job> jobs) {
  return Simulation(setup, jobs).run();
}

double percentile(std::vector<double>& values, double share) {
  if (values.empty()) return 0;
  const auto at = static_cast<std::ptrdiff_t>(
      std::min(double(values.size() - 1), share * double(values.size())));
  std::nth_element(values.begin(), values.begin() + at, values.end());
  return values[static_cast<size_t>(at)];
}

}  // namespace parkd::simulate
