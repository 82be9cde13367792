// The life of a job through the dispatcher, as DESIGN.md's straight path tells it.
#include "lib/dispatch/dispatcher.h"

#include <gtest/gtest.h>

#include "tests/dispatch/world.h"

namespace parkd {
namespace {

TEST(Dispatcher, a_job_that_fits_runs_at_once_and_leaves_its_message) {  // A1
  World world(10);
  world.ready();
  const JobId id = world.submit(job_of(5));
  EXPECT_EQ(world.phase(id), LivePhase::running);
  EXPECT_EQ(world.model().in_use, Blocks{5});
  world.pass(milliseconds(840));
  world.complete_nth(0);
  world.flush();
  const Message message = world.message(id);
  EXPECT_EQ(message.ending.outcome, Outcome::completed);
  EXPECT_EQ(message.ending.body, "whole");
  EXPECT_EQ(message.ending.status_code, 200);
  EXPECT_EQ(message.ending.units, 5);
  EXPECT_EQ(message.ending.prompt_tokens, 10);
  EXPECT_EQ(message.ending.completion_tokens, 40);
  EXPECT_EQ(message.ending.run_us, 840'000);
  EXPECT_EQ(world.model().outcomes.at("completed"), 1);
  world.dispatcher.check_idle();
}

TEST(Dispatcher, what_does_not_fit_is_parked_and_wakes_in_order) {  // A2, A7
  World world(10);
  world.ready();
  const JobId first = world.submit(job_of(10));
  std::vector<JobId> ids;
  for (int i = 0; i < 4; ++i) ids.push_back(world.submit(job_of(3)));
  EXPECT_EQ(world.phase(first), LivePhase::running);
  for (const JobId id : ids) EXPECT_EQ(world.phase(id), LivePhase::parked);
  EXPECT_EQ(world.dispatcher.stats()->find(ids[0])->waits_for, "needs 3 units, 0 of 10 are free");
  world.complete_nth(0);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(world.phase(ids[i]), LivePhase::running);
  EXPECT_EQ(world.phase(ids[3]), LivePhase::parked);
  world.complete_all();
  EXPECT_EQ(world.mailbox().size(), 5u);
  world.dispatcher.check_idle();
}

TEST(Dispatcher, units_come_back_with_the_result_before_it_is_stored) {
  World world(10);
  world.ready();
  world.store.faults["finish"] = FaultyStore::Fault::before;
  world.submit(job_of(10));
  const JobId next = world.submit(job_of(10));
  world.complete_nth(0);
  EXPECT_EQ(world.phase(next), LivePhase::running) << "a store in trouble keeps no units";
}

TEST(Dispatcher, priorities_start_critical_high_normal_low_and_in_order_inside_a_class) {  // A4
  World world(10);
  world.ready();
  world.submit(job_of(10));
  std::vector<JobId> expected(8);
  const Priority order[] = {Priority::low, Priority::critical, Priority::high, Priority::normal};
  const size_t place[] = {6, 0, 2, 4};
  for (int round = 0; round < 2; ++round) {
    for (size_t i = 0; i < 4; ++i) {
      JobSpec spec = job_of(10);
      spec.priority = order[i];
      expected[place[i] + static_cast<size_t>(round)] = world.submit(spec);
    }
  }
  std::vector<JobId> started;
  for (size_t n = 0; n < 8; ++n) {
    world.complete_nth(n);
    for (const JobId id : expected) {
      if (world.phase(id) == LivePhase::running) started.push_back(id);
    }
  }
  EXPECT_EQ(started, expected);
}

TEST(Dispatcher, fifty_submits_all_run_and_never_exceed_the_units) {  // A6
  World world(10, 8, 4);
  world.ready();
  for (int i = 0; i < 50; ++i) world.submit(job_of(2));
  EXPECT_EQ(world.engine.running().size(), 4u) << "sequence slots bound it too";
  world.complete_all();
  EXPECT_EQ(world.mailbox().size(), 50u);
  EXPECT_LE(world.engine.blocks_peak(), 10);
  EXPECT_LE(world.model().peak, Blocks{10});
  world.dispatcher.check_idle();
}

TEST(Dispatcher, the_lot_bounds_what_is_claimed) {
  World world(10, 3);
  world.ready();
  for (int i = 0; i < 20; ++i) world.submit(job_of(10));
  EXPECT_EQ(world.model().running, 1);
  EXPECT_EQ(world.model().parked, 3);
  EXPECT_EQ(world.model().claimed, 4);
  world.complete_all();
  EXPECT_EQ(world.mailbox().size(), 20u);
}

TEST(Dispatcher, an_oversize_job_is_told_so_with_both_numbers) {  // B4
  World world(10);
  world.ready();
  const JobId id = world.submit(job_of(11));
  world.flush();
  const Message message = world.message(id);
  EXPECT_EQ(message.ending.outcome, Outcome::failed);
  EXPECT_EQ(message.ending.error_code, "context_length_exceeded");
  EXPECT_EQ(message.ending.status_code, 400);
  EXPECT_NE(message.ending.error_message.find("11 units"), std::string::npos);
  EXPECT_NE(message.ending.error_message.find("10 in all"), std::string::npos);
  EXPECT_EQ(message.ending.units, 0);
  const JobId small = world.submit(job_of(1));
  EXPECT_EQ(world.phase(small), LivePhase::running) << "it blocks nobody";
}

TEST(Dispatcher, more_choices_than_sequences_fail_too_large) {
  World world(100, 8, 4);
  world.ready();
  JobSpec spec = job_of(1);
  spec.n_choices = 5;
  const JobId id = world.submit(spec);
  world.flush();
  EXPECT_EQ(world.message(id).ending.error_code, "too_large");
  EXPECT_EQ(world.message(id).ending.error_param, "n");
}

// Two prompts of 5 and 15 tokens, whose two choices get 5 each: 2 * (1 + 2) units, 4 sequences.
Result<PreparedJob> prepare_two_prompts(const Job&) {
  PreparedJob prepared;
  prepared.request.prompts.resize(2);
  prepared.request.prompts[0] = {std::vector<TokenId>(5, 1), 5};
  prepared.request.prompts[1] = {std::vector<TokenId>(15, 1), 5};
  prepared.request.n_choices = 2;
  prepared.prompt_field = "prompt";
  return prepared;
}

TEST(Dispatcher, a_job_of_several_prompts_is_charged_for_each_of_their_choices) {
  World world(8, 8, 4);
  world.port.prepare = prepare_two_prompts;
  world.ready();
  const JobId first = world.submit(job_of(1));
  EXPECT_EQ(world.model().in_use, Blocks{6});
  EXPECT_EQ(world.model().running_sequences, 4);
  const JobId second = world.submit(job_of(1));
  EXPECT_EQ(world.phase(second), LivePhase::parked) << "units would do for one prompt of it";
  world.complete_all();
  for (const JobId id : {first, second}) {
    const Ending ending = world.message(id).ending;
    EXPECT_EQ(ending.outcome, Outcome::completed) << ending.error_message;
    EXPECT_EQ(ending.units, 6);
    EXPECT_EQ(ending.prompt_tokens, 20) << "each prompt once";
    EXPECT_EQ(ending.completion_tokens, 4 * 5);
  }
  EXPECT_EQ(world.model().prompt_tokens, 40);
}

TEST(Dispatcher, prompts_that_do_not_fit_together_fail_too_large_and_say_how_many_would) {
  World units(5, 8, 4);
  units.port.prepare = prepare_two_prompts;
  units.ready();
  const JobId id = units.submit(job_of(1));
  units.flush();
  EXPECT_EQ(units.message(id).ending.error_code, "too_large");
  EXPECT_EQ(units.message(id).ending.error_param, "prompt");
  EXPECT_EQ(units.message(id).ending.error_message,
            "prompt has 2 prompts and n is 2, so the job needs 6 units; model m has 5 in all: give "
            "it fewer (the first 1 fit)");
  World sequences(100, 8, 3);
  sequences.port.prepare = prepare_two_prompts;
  sequences.ready();
  const JobId other = sequences.submit(job_of(1));
  sequences.flush();
  EXPECT_EQ(sequences.message(other).ending.error_code, "too_large");
  EXPECT_EQ(sequences.message(other).ending.error_message,
            "prompt has 2 prompts and n is 2, so the job has 4 sequences; model m runs at most 3 "
            "sequences of a job at a time (max_num_seqs): give a job at most 1 prompt");
}

TEST(Dispatcher, what_has_a_word_of_openais_ends_with_it) {
  World world(10);
  world.port.prepare = [](const Job&) -> Result<PreparedJob> {
    return invalid_param("messages", "too long").with_error_code("context_length_exceeded");
  };
  world.ready();
  const JobId id = world.submit(job_of(1));
  world.flush();
  EXPECT_EQ(world.message(id).ending.error_code, "context_length_exceeded");
  EXPECT_EQ(world.message(id).ending.status_code, 400);
  EXPECT_EQ(world.message(id).ending.error_param, "messages");
}

TEST(Dispatcher, a_bad_body_becomes_a_failed_message_and_its_neighbours_run) {
  World world(10);
  world.ready();
  JobSpec bad = job_of(1);
  bad.body = "bad";
  const JobId failed = world.submit(bad);
  const JobId neighbour = world.submit(job_of(1));
  world.flush();
  EXPECT_EQ(world.message(failed).ending.error_code, "invalid_request");
  EXPECT_EQ(world.message(failed).ending.status_code, 400);
  EXPECT_EQ(world.message(failed).ending.error_param, "messages");
  EXPECT_EQ(world.message(failed).attempts, 0) << "it never ran";
  EXPECT_EQ(world.phase(neighbour), LivePhase::running);
}

TEST(Dispatcher, an_exception_in_preparing_ends_the_job_and_not_the_process) {  // B8
  World world(10);
  world.ready();
  JobSpec spec = job_of(1);
  spec.body = "throws";
  spec.max_attempts = 1;
  const JobId id = world.submit(spec);
  world.flush();
  EXPECT_EQ(world.message(id).ending.error_code, "internal");
}

TEST(Dispatcher, a_body_that_cannot_be_rendered_fails_its_job_alone) {  // B8
  World world(10);
  world.port.render = [](const EndedRun&) -> std::string { throw std::runtime_error("scripted"); };
  world.ready();
  JobSpec spec = job_of(5);
  spec.max_attempts = 1;
  const JobId whole = world.submit(spec);
  spec.run_timeout = seconds(1);
  const JobId timed = world.submit(spec);
  world.complete_nth(0);
  world.pass(seconds(1));
  world.flush();
  EXPECT_EQ(world.message(whole).ending.error_code, "internal");
  EXPECT_EQ(world.message(timed).ending.error_code, "run_timeout") << "only its text is lost";
  EXPECT_EQ(world.message(timed).ending.body, "");
  world.dispatcher.check_idle();
}

TEST(Dispatcher, a_model_that_is_loading_claims_nothing_and_then_everything) {
  World world(10);
  ASSERT_EQ(world.model().state, ModelState::loading) << "published before the loop's first turn";
  const JobId id = world.submit(job_of(1));
  world.pass(seconds(10));
  EXPECT_EQ(world.phase(id), std::nullopt);
  EXPECT_EQ(world.store.calls["claim"], 0);
  EXPECT_EQ(world.model().state, ModelState::loading);
  world.ready();
  EXPECT_EQ(world.phase(id), LivePhase::running);
}

TEST(Dispatcher, a_model_that_failed_to_load_says_why_and_keeps_its_jobs_queued) {
  World world(10);
  world.dispatcher.model_failed("m", corrupt("bad magic"));
  const JobId id = world.submit(job_of(1));
  world.pass(seconds(10));
  EXPECT_EQ(world.model().state, ModelState::failed);
  EXPECT_EQ(world.model().failure, "corrupt: bad magic");
  EXPECT_EQ(std::get<Job>(world.get(id)).state, JobState::queued);
}

// --- failing runs

TEST(Dispatcher, a_retryable_failure_runs_again_after_a_growing_delay_up_to_max_attempts) {
  World world(10);
  world.ready();
  const JobId id = world.submit(job_of(10));
  const auto purge = [&] {  // the store's housekeeping wakes what is due
    world.store.purge([](Result<PurgeAnswer>) {});
    world.settle();
  };
  world.engine.fail(world.engine.started().at(0), internal_error("scripted"));
  world.flush();
  EXPECT_EQ(world.model().in_use, Blocks{0});
  EXPECT_EQ(std::get<Job>(world.get(id)).state, JobState::scheduled);
  EXPECT_EQ(std::get<Job>(world.get(id)).attempts, 1);
  world.pass(milliseconds(900));
  purge();
  EXPECT_EQ(world.engine.started().size(), 1u) << "not before its delay of 1 s";
  world.pass(milliseconds(100));
  purge();
  ASSERT_EQ(world.engine.started().size(), 2u);
  world.engine.fail(world.engine.started().at(1), exhausted("scripted"));
  world.settle();
  world.pass(milliseconds(1900));
  purge();
  EXPECT_EQ(world.engine.started().size(), 2u) << "the second delay is 2 s";
  world.pass(milliseconds(110));
  purge();
  ASSERT_EQ(world.engine.started().size(), 3u);
  world.engine.fail(world.engine.started().at(2), internal_error("scripted"));
  world.settle();
  world.flush();
  const Message message = world.message(id);
  EXPECT_EQ(message.ending.error_code, "internal");
  EXPECT_EQ(message.ending.body, "partial") << "what there was is kept";
  EXPECT_EQ(world.model().retried, 2);
  world.dispatcher.check_idle();
}

TEST(Dispatcher, a_failing_job_leaves_its_units_and_the_others_run_on) {  // B8
  World world(10);
  world.ready();
  JobSpec spec = job_of(5);
  spec.max_attempts = 1;
  const JobId failing = world.submit(spec);
  const JobId fine = world.submit(job_of(5));
  const JobId parked = world.submit(job_of(5));
  world.engine.fail(world.engine.started().at(0), internal_error("scripted"));
  world.settle();
  EXPECT_EQ(world.phase(parked), LivePhase::running);
  world.complete_all();
  EXPECT_EQ(world.message(failing).ending.outcome, Outcome::failed);
  EXPECT_EQ(world.message(fine).ending.outcome, Outcome::completed);
  EXPECT_EQ(world.message(parked).ending.outcome, Outcome::completed);
}

// --- claims and endings in company

TEST(Dispatcher, a_stream_of_jobs_is_claimed_in_company) {
  DispatcherOptions options;
  options.claim_pause_per_job = milliseconds(1);
  World world(100, 64, 64, options);
  world.ready();
  world.pass(milliseconds(100));
  EXPECT_EQ(world.phase(world.submit(job_of(1))), LivePhase::running) << "at once when it is quiet";
  const JobId second = world.submit(job_of(1));
  EXPECT_EQ(world.phase(second), std::nullopt);
  EXPECT_LE(world.dispatcher.next_due(), milliseconds(1));
  const JobId third = world.submit(job_of(1));
  world.pass(milliseconds(1));
  EXPECT_EQ(world.phase(second), LivePhase::running);
  EXPECT_EQ(world.phase(third), LivePhase::running);
  std::vector<JobId> more(1, world.submit(job_of(1)));
  for (int i = 1; i < 50; ++i) more.push_back(world.submit(job_of(1)));
  world.pass(milliseconds(2));
  EXPECT_EQ(world.phase(more.back()), LivePhase::running);
  const JobId last = world.submit(job_of(1));
  world.pass(milliseconds(29));
  EXPECT_EQ(world.phase(last), std::nullopt);
  world.pass(milliseconds(1));
  EXPECT_EQ(world.phase(last), LivePhase::running) << "never longer than 30 ms";
}

TEST(Dispatcher, endings_go_to_the_store_in_company) {
  World world(100);
  world.ready();
  for (int i = 0; i < 10; ++i) world.submit(job_of(5));
  for (size_t n = 0; n < 10; ++n) world.complete_nth(n);
  EXPECT_EQ(world.store.calls["finish"], 0) << "they wait a few ms";
  world.flush();
  EXPECT_EQ(world.store.finish_sizes, (std::vector<size_t>{10}));
  EXPECT_EQ(world.mailbox().size(), 10u);
}

// --- fairness

TEST(Dispatcher, a_large_parked_job_is_not_starved_by_small_ones) {  // B5
  World world(10, 4, 16);
  world.ready();
  for (int i = 0; i < 4; ++i) world.submit(job_of(3));
  const JobId large = world.submit(job_of(10));
  int rounds = 0;
  while (world.phase(large) != LivePhase::running) {
    ASSERT_LT(++rounds, 60) << "the large job starves";
    world.submit(job_of(3));
    world.engine.complete(world.engine.running().front());
    world.pass(milliseconds(500));
  }
  world.complete_all();
  world.dispatcher.check_idle();
}

TEST(Dispatcher, two_models_do_not_wait_for_each_other) {
  World world(10);
  world.ready();
  FakeEngine other_engine(kBlockSize,
                          [&](GenerationResult r) { world.dispatcher.on_result(std::move(r)); });
  ModelPort other = world.port;
  other.engine = &other_engine;
  world.dispatcher.model_ready("other", other);
  world.submit(job_of(10));
  world.submit(job_of(10));
  JobSpec spec = job_of(10);
  spec.model = "other";
  const JobId id = world.submit(spec);
  EXPECT_EQ(world.phase(id), LivePhase::running);
  EXPECT_EQ(other_engine.running().size(), 1u);
  other_engine.complete(other_engine.running().front());
  world.settle();
  world.complete_all();
  world.dispatcher.check_idle();
}

}  // namespace
}  // namespace parkd
