// The simulation keeps the engine's books: every token is computed and answered once, no block is
// taken that is not there, the same seed gives the same figures.
#include "tools/simulate/simulation.h"

#include <gtest/gtest.h>

#include <numeric>
#include <random>

#include "tools/simulate/tables.h"

namespace parkd::simulate {
namespace {

EngineSetup setup_of(Lanes lanes, int32_t max_num_seqs, int64_t blocks) {
  EngineSetup setup;
  setup.model = *find_model("Mistral-7B");
  setup.device = *find_device("H100");
  setup.lanes = lanes;
  setup.max_num_seqs = max_num_seqs;
  setup.step_tokens = 256;
  setup.kv_blocks = {blocks};
  setup.reserve = 0;
  return setup;
}

constexpr Lanes kLanes[] = {Lanes::one, Lanes::two_equal, Lanes::decodes_first, Lanes::roles_equal};

TEST(Simulation, one_job_takes_its_steps_one_after_the_other) {
  const std::vector<Job> jobs = {{1.0, 600, 3}};
  Outcome outcome = simulate(setup_of(Lanes::one, 1, 100), jobs);
  // 256 + 256 + 88 of the prompt, the last of which gives the first token; then two decodes.
  EXPECT_EQ(outcome.n_steps, 5);
  const EngineSetup setup = setup_of(Lanes::one, 1, 100);
  const auto cost = [&](int64_t rows, int64_t before, bool last) {
    StepWork work;
    work.prompt_rows = rows;
    work.prompt_context_tokens = rows * before + rows * (rows + 1) / 2;
    work.logit_rows = last ? 1 : 0;
    return cost_of(work, setup.model, setup.device, setup.reached).alone_s();
  };
  const auto decode = [&](int64_t context) {
    StepWork work;
    work.decode_rows = work.logit_rows = 1;
    work.decode_context_tokens = context;
    return cost_of(work, setup.model, setup.device, setup.reached).alone_s();
  };
  const double first = cost(256, 0, false) + cost(256, 256, false) + cost(88, 512, true);
  ASSERT_EQ(outcome.first_token_s.size(), 1U);
  EXPECT_NEAR(outcome.first_token_s[0], first, 1e-9);
  ASSERT_EQ(outcome.between_tokens_s.size(), 2U);
  EXPECT_NEAR(outcome.between_tokens_s[0], decode(601), 1e-9);
  EXPECT_NEAR(outcome.between_tokens_s[1], decode(602), 1e-9);
  EXPECT_NEAR(outcome.seconds, 1 + first + decode(601) + decode(602), 1e-9);
}

TEST(Simulation, every_token_is_computed_and_answered_once_within_the_blocks_there_are) {
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  for (int round = 0; round < 12; ++round) {
    const Mix mix = {"", 1 + static_cast<int32_t>(random() % 700),
                     1 + static_cast<int32_t>(random() % 60)};
    const auto blocks = static_cast<int64_t>(40 + random() % 200);
    const auto sequences = static_cast<int32_t>(2 + random() % 30);
    std::optional<double> rate;
    if (round % 2 == 1) rate = 20;
    const std::vector<Job> jobs = make_jobs(mix, 60, rate, random());
    int64_t prompt_tokens = 0;
    int64_t new_tokens = 0;
    for (const Job& job : jobs) {
      prompt_tokens += job.prompt_tokens;
      new_tokens += job.new_tokens;
    }
    for (const Lanes lanes : kLanes) {
      for (const Overlap overlap : {Overlap::in_turn, Overlap::perfect}) {
        EngineSetup setup = setup_of(lanes, sequences, blocks);
        setup.overlap = overlap;
        setup.callers_wait = round % 3 == 0;
        setup.reserve = round % 3 == 1 ? 0 : 0.125;
        const Outcome outcome = simulate(setup, jobs);
        EXPECT_EQ(outcome.prompt_tokens, prompt_tokens);
        EXPECT_EQ(outcome.new_tokens, new_tokens);
        EXPECT_EQ(outcome.first_token_s.size(), jobs.size());
        EXPECT_EQ(outcome.between_tokens_s.size(), size_t(new_tokens) - jobs.size());
        EXPECT_LE(outcome.blocks_peak, setup.kv_blocks);
        EXPECT_EQ(outcome.unused_rows, 0) << "an end by length is known a step ahead";
        EXPECT_GE(outcome.seconds, jobs.back().arrival_s);
      }
    }
  }
}

TEST(Simulation, the_same_seed_gives_the_same_tables) {
  Choice choice = smoke_choice();
  choice.seed = 7;
  EXPECT_EQ(backlog_table(choice), backlog_table(choice));
  EXPECT_EQ(latency_table(choice), latency_table(choice));
  const std::string table = latency_table(choice);
  choice.seed = 8;
  EXPECT_NE(latency_table(choice), table);
}

TEST(Simulation, no_lanes_give_more_than_the_device_has) {
  const std::vector<Job> jobs = make_jobs(mixes()[0], 100, {}, 3);
  double arithmetic_s = 0;
  const EngineSetup one = setup_of(Lanes::one, 64, 4000);
  for (const Job& job : jobs) {
    const ModelSheet& m = one.model;
    const double weights = (weight_bytes(m) - 2.0 * m.hidden * m.vocab) / 2;
    arithmetic_s += 2 * weights * (job.prompt_tokens + job.new_tokens - 1) /
                    (one.device.tensor_flops * one.reached.product_flops);
  }
  for (const Lanes lanes : kLanes) {
    EngineSetup setup = setup_of(lanes, 64, 4000);
    setup.overlap = Overlap::perfect;
    EXPECT_GT(simulate(setup, jobs).seconds, arithmetic_s * 0.95);
  }
}

TEST(Simulation, more_sequences_share_the_weights_that_a_step_reads) {
  const std::vector<Job> jobs = make_jobs(mixes()[2], 128, {}, 3);
  const double few = simulate(setup_of(Lanes::one, 8, 20000), jobs).tokens_per_s();
  const double many = simulate(setup_of(Lanes::one, 64, 20000), jobs).tokens_per_s();
  EXPECT_GT(many, 4 * few) << few;
}

// A job that waits for a slot is not begun, however many blocks are free.
TEST(Simulation, sequences_bound_what_runs_at_once) {
  std::vector<Job> jobs(10, Job{0, 32, 32});
  const Outcome outcome = simulate(setup_of(Lanes::one, 3, 1000), jobs);
  EXPECT_EQ(outcome.blocks_peak.count, 3 * 2);
}

TEST(Percentile, is_the_value_that_so_many_stay_below) {
  std::vector<double> values(100);
  std::iota(values.begin(), values.end(), 1);
  EXPECT_EQ(percentile(values, 0.5), 51);
  EXPECT_EQ(percentile(values, 0.99), 100);
  std::vector<double> none;
  EXPECT_EQ(percentile(none, 0.5), 0);
}

}  // namespace
}  // namespace parkd::simulate
