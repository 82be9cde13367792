// The promise between tenants, simulated: the real dispatcher, store, lot and pool, an engine whose
// jobs last as long as their tokens, heavy-tailed sizes, up to twenty tenants that stay or come and
// go. Counted in work (tokens of need), never in time. Prints a table; PARKD_LONG=1: long runs.
//
// lead/C: the most that one tenant started beyond another while both waited, in pool capacities;
// bound: L_f + L_m + 4C (parking_lot.h, for tenants whose jobs are on their way now and then).
// newcomer/C: the most that was started between a tenant's coming and its first start, with
// nothing parked or queued before; bound: C and a largest job of every tenant.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <map>
#include <random>

#include "lib/base/log.h"
#include "lib/pool/price.h"
#include "tests/dispatch/world.h"

namespace parkd {
namespace {

constexpr int64_t kCapacity = 200;  // units of 10 tokens
constexpr int64_t kCapacityTokens = kCapacity * kBlockSize;

// Work that lasts 10 ms a token and sequence. Says what starts, in order.
class TimedEngine final : public Engine {
 public:
  TimedEngine(World& world, std::function<void(JobId)> on_start)
      : world_(world), on_start_(std::move(on_start)) {}

  void start(GenerationRequest request) override {
    const int64_t tokens =
        int64_t{request.n_choices} * kBlockSize + request.prompts[0].max_new_tokens;
    ends_.emplace(world_.clock.steady_now() + milliseconds(10 * tokens), request.id);
    n_choices_[request.id] = request.n_choices;
    on_start_(static_cast<JobId>(request.prompts[0].tokens.front()));
  }
  void cancel(RequestId) override {}
  EngineStats stats() const override { return {}; }
  std::vector<Blocks> kv_blocks() const override { return {}; }
  void stop() override {}

  bool idle() const { return ends_.empty(); }
  // Time goes on to the next end; what ends at the same moment is told at once.
  void end_next() {
    const SteadyTime at = ends_.begin()->first;
    world_.clock.advance(std::chrono::duration_cast<Micros>(at - world_.clock.steady_now()));
    while (!ends_.empty() && ends_.begin()->first == at) {
      GenerationResult result;
      result.id = ends_.begin()->second;
      ends_.erase(ends_.begin());
      GeneratedChoice choice;
      choice.finish_reason = FinishReason::stop;
      result.choices.assign(static_cast<size_t>(n_choices_.at(result.id)), choice);
      world_.dispatcher.on_result(std::move(result));
    }
    world_.settle();
  }

 private:
  World& world_;
  const std::function<void(JobId)> on_start_;
  std::multimap<SteadyTime, RequestId> ends_;
  std::map<RequestId, int32_t> n_choices_;
};

struct Kind {
  double alpha = 0;      // of the sizes' Pareto tail; 0: all have size_min
  int64_t size_min = 1;  // units of a choice
  int64_t size_max = 1;
  int32_t n_choices = 1;  // at most
  int burst = 0;          // jobs it comes with, and is away after; 0: it always has work
};

struct Mix {
  const char* name;
  std::vector<Kind> kinds;  // of the tenants, in turn
  int32_t sequences = 16;
  int32_t lot_places = 32;
};

struct Tenant {
  Kind kind;
  std::string name;
  int n_waiting = 0;    // submitted, not started
  int comes_after = 0;  // ends until the next burst
  int64_t started = 0;  // tokens
  int64_t largest = 0;
  std::optional<int64_t> came_at;  // with a burst that has not begun: all work started till then
};

// What two tenants started since both have waited.
struct Pair {
  bool both_wait = false;
  int64_t least = 0, most = 0;  // lead of the first at the extremes of this interval
};

class Simulation {
 public:
  Simulation(const Mix& mix, int n_tenants, uint32_t seed)
      : random_(seed),
        world_(kCapacity, mix.lot_places, mix.sequences),
        engine_(world_, [this](JobId id) { started(id); }) {
    for (int t = 0; t < n_tenants; ++t) {
      Tenant tenant;
      tenant.kind = mix.kinds[static_cast<size_t>(t) % mix.kinds.size()];
      tenant.name = "t" + std::to_string(t);
      tenants_.push_back(tenant);
    }
    world_.port.engine = &engine_;
    world_.port.prepare = [](const Job& job) -> Result<PreparedJob> {
      PreparedJob prepared;
      prepared.request.prompts[0].tokens.assign(static_cast<size_t>(job.spec.prompt_tokens),
                                                static_cast<int32_t>(job.id));
      prepared.request.prompts[0].max_new_tokens = job.spec.max_new_tokens;
      prepared.request.n_choices = job.spec.n_choices;
      return prepared;
    };
    world_.ready();
  }

  void run(int n_ends) {
    for (int i = 0; i < n_ends; ++i) {
      for (size_t t = 0; t < tenants_.size(); ++t) submit(t);
      ASSERT_FALSE(engine_.idle()) << "there is work";
      const ModelStats model = world_.model();
      used_ += std::max(double(model.in_use.count) / kCapacity,
                        double(model.running_sequences) / model.max_num_seqs);
      engine_.end_next();
      ++n_ends_;
    }
  }

  void print(const char* mix) const {
    std::printf("%-28s %7zu %6d %13.2f %8.2f %13.2f %8.2f %6.0f%% %7lld %7lld\n", mix,
                tenants_.size(), n_ends_, worst_lead_, worst_lead_of_bound_, worst_wait_,
                worst_wait_of_bound_, 100 * used_ / n_ends_,
                static_cast<long long>(world_.model().given_back),
                static_cast<long long>(world_.model().claimed_small));
    std::fflush(stdout);
  }
  static void print_head() {
    std::printf("%-28s %7s %6s %13s %8s %13s %8s %7s %7s %7s\n", "mix", "tenants", "ends",
                "worst lead/C", "/bound", "newcomer/C", "/bound", "used", "back", "small");
  }

  double worst_lead_of_bound() const { return worst_lead_of_bound_; }
  double worst_wait_of_bound() const { return worst_wait_of_bound_; }

 private:
  int64_t size_of(const Kind& kind) {
    if (kind.alpha == 0) return kind.size_min;
    const double u = std::uniform_real_distribution<double>(0.0, 1.0)(random_);
    const double size = static_cast<double>(kind.size_min) * std::pow(1 - u, -1 / kind.alpha);
    return static_cast<int64_t>(std::min(size, static_cast<double>(kind.size_max)));
  }

  void submit(size_t t) {
    Tenant& tenant = tenants_[t];
    int n = 0;
    if (tenant.kind.burst == 0) {
      const int backlog = 12 + 64 / static_cast<int>(tenants_.size());
      if (tenant.n_waiting < backlog / 2) n = backlog - tenant.n_waiting;
    } else if (tenant.n_waiting == 0 && --tenant.comes_after <= 0) {
      n = tenant.kind.burst;
      tenant.comes_after = static_cast<int>(random_() % 40);
      tenant.came_at = all_started_;
    }
    if (n == 0) return;
    std::vector<JobSpec> jobs;
    for (int i = 0; i < n; ++i) {
      JobSpec spec = job_of(std::max<int64_t>(1, size_of(tenant.kind)));
      const auto n_choices = static_cast<unsigned>(tenant.kind.n_choices);
      spec.n_choices = 1 + static_cast<int32_t>(random_() % n_choices);
      while (spec.n_choices > 1 && cost_of(spec) > kCapacity) --spec.n_choices;
      spec.tenant = tenant.name;
      tenant.largest = std::max(tenant.largest, spec.need_tokens());
      jobs_[next_id_++] = {t, spec.need_tokens()};
      jobs.push_back(std::move(spec));
    }
    tenant.n_waiting += n;
    note_waiting(t);
    world_.store.submit(std::move(jobs), [&](Result<std::vector<SubmittedJob>> answer) {
      ASSERT_TRUE(answer.ok()) << answer.status().to_string();
      ASSERT_EQ(answer->back().id, next_id_ - 1);
    });
    world_.settle();
  }
  static int64_t cost_of(const JobSpec& spec) {
    return job_cost(spec.n_choices, spec.prompt_tokens, spec.max_new_tokens, kBlockSize).count;
  }

  void started(JobId id) {
    const auto [t, need] = jobs_.at(id);
    Tenant& tenant = tenants_[t];
    if (tenant.came_at) {
      const int64_t waited = all_started_ - *tenant.came_at;
      int64_t bound = kCapacityTokens;
      for (const Tenant& other : tenants_) bound += other.largest;
      worst_wait_ = std::max(worst_wait_, double(waited) / double(kCapacityTokens));
      worst_wait_of_bound_ = std::max(worst_wait_of_bound_, double(waited) / double(bound));
      tenant.came_at.reset();
    }
    tenant.started += need;
    all_started_ += need;
    for (size_t other = 0; other < tenants_.size(); ++other) {
      if (other != t) note_lead(std::min(t, other), std::max(t, other));
    }
    --tenant.n_waiting;
    note_waiting(t);
  }

  // A tenant waits as long as it has a job that has not started.
  void note_waiting(size_t t) {
    for (size_t other = 0; other < tenants_.size(); ++other) {
      if (other == t) continue;
      const size_t f = std::min(t, other), m = std::max(t, other);
      Pair& pair = pairs_[{f, m}];
      const bool both = tenants_[f].n_waiting > 0 && tenants_[m].n_waiting > 0;
      if (both && !pair.both_wait) pair.least = pair.most = lead(f, m);
      pair.both_wait = both;
    }
  }
  int64_t lead(size_t f, size_t m) const { return tenants_[f].started - tenants_[m].started; }
  void note_lead(size_t f, size_t m) {
    Pair& pair = pairs_[{f, m}];
    if (!pair.both_wait) return;
    pair.least = std::min(pair.least, lead(f, m));
    pair.most = std::max(pair.most, lead(f, m));
    const auto range = double(pair.most - pair.least);
    const auto bound = double(tenants_[f].largest + tenants_[m].largest + 4 * kCapacityTokens);
    worst_lead_ = std::max(worst_lead_, range / double(kCapacityTokens));
    worst_lead_of_bound_ = std::max(worst_lead_of_bound_, range / bound);
  }

  std::mt19937 random_;
  std::vector<Tenant> tenants_;
  std::map<JobId, std::pair<size_t, int64_t>> jobs_;  // tenant, need
  JobId next_id_ = 1;
  std::map<std::pair<size_t, size_t>, Pair> pairs_;
  int64_t all_started_ = 0;
  double used_ = 0;  // the greater part of units and sequences
  int n_ends_ = 0;
  double worst_lead_ = 0, worst_lead_of_bound_ = 0, worst_wait_ = 0, worst_wait_of_bound_ = 0;
  World world_;
  TimedEngine engine_;
};

const std::vector<Mix>& mixes() {
  static const std::vector<Mix> mixes = {
      {"alike", {{.size_min = 10}}},
      {"large and small", {{.size_min = 60}, {.size_min = 2}}},
      {"heavy-tailed", {{.alpha = 1.1, .size_min = 2, .size_max = 190}}},
      {"heavy-tailed, many choices",
       {{.alpha = 1.1, .size_min = 2, .size_max = 60, .n_choices = 8},
        {.alpha = 1.5, .size_min = 1, .size_max = 20}}},
      {"many sequences, small lot", {{.size_min = 10}, {.size_min = 1}}, 200, 4},
      {"many sequences",
       {{.alpha = 1.1, .size_min = 1, .size_max = 190},
        {.alpha = 1.5, .size_min = 1, .size_max = 50}},
       200,
       400},
      {"bursts among heavy-tailed",
       {{.alpha = 1.1, .size_min = 2, .size_max = 190},
        {.alpha = 1.5, .size_min = 1, .size_max = 50, .burst = 3},
        {.size_min = 1, .burst = 1}}},
  };
  return mixes;
}

TEST(FairnessSimulation, in_every_mix_what_waiting_tenants_start_stays_within_the_bound) {
  configure_log(LogLevel::error, LogFormat::text);
  const bool long_run = std::getenv("PARKD_LONG") != nullptr;
  const uint32_t seed = std::random_device()();
  std::cout << "seed " << seed << "\n";
  Simulation::print_head();
  for (const Mix& mix : mixes()) {
    for (const int n_tenants : long_run ? std::vector{1, 2, 5, 20} : std::vector{2, 20}) {
      Simulation simulation(mix, n_tenants, seed);
      simulation.run(long_run ? 2000 : 400 / n_tenants);
      simulation.print(mix.name);
      EXPECT_LE(simulation.worst_lead_of_bound(), 1) << mix.name << ", " << n_tenants;
      EXPECT_LE(simulation.worst_wait_of_bound(), 1) << mix.name << ", " << n_tenants;
    }
  }
}

}  // namespace
}  // namespace parkd
