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

TEST(Dispatcher, an_oversize_job_fails_too_large_and_names_both_numbers) {  // B4
  World world(10);
  world.ready();
  const JobId id = world.submit(job_of(11));
  world.flush();
  const Message message = world.message(id);
  EXPECT_EQ(message.ending.outcome, Outcome::failed);
  EXPECT_EQ(message.ending.error_code, "too_large");
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

TEST(Dispatcher, a_cancel_that_overtakes_the_claims_answer_is_not_lost) {
  World world(10);
  world.ready();
  world.store.hold_claims = true;
  const JobId id = world.submit(job_of(5));
  ASSERT_EQ(world.phase(id), std::nullopt) << "claimed, and the answer is on its way";
  EXPECT_EQ(world.cancel(id), CancelAnswer::cancel_requested);
  world.store.hold_claims = false;
  world.store.let_go();
  world.settle();
  world.flush();
  EXPECT_EQ(world.message(id).ending.outcome, Outcome::cancelled);
  EXPECT_TRUE(world.engine.started().empty());
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

// --- cancel, deadline, run timeout

TEST(Dispatcher, cancelling_a_parked_job_frees_its_place_at_once) {  // B6
  World world(10, 1);
  world.ready();
  world.submit(job_of(10));
  const JobId parked = world.submit(job_of(10));
  const JobId waiting = world.submit(job_of(10));
  ASSERT_EQ(world.phase(parked), LivePhase::parked);
  ASSERT_EQ(world.phase(waiting), std::nullopt);
  EXPECT_EQ(world.cancel(parked), CancelAnswer::cancel_requested);
  EXPECT_EQ(world.phase(waiting), LivePhase::parked);
  world.flush();
  EXPECT_EQ(world.message(parked).ending.outcome, Outcome::cancelled);
}

TEST(Dispatcher, cancelling_a_running_job_stops_it_and_its_units_wake_the_next) {  // B6
  World world(10);
  world.ready();
  const JobId running = world.submit(job_of(10));
  const JobId parked = world.submit(job_of(10));
  EXPECT_EQ(world.cancel(running), CancelAnswer::cancel_requested);
  EXPECT_EQ(world.phase(parked), LivePhase::running);
  world.flush();
  EXPECT_EQ(world.message(running).ending.outcome, Outcome::cancelled);
  EXPECT_EQ(world.message(running).ending.units, 10);
  EXPECT_EQ(world.model().outcomes.at("cancelled"), 1);
}

TEST(Dispatcher, a_result_that_comes_after_the_cancel_changes_nothing) {
  World world(10);
  world.ready();
  world.engine.answer_cancels = false;
  const JobId id = world.submit(job_of(10));
  world.cancel(id);
  EXPECT_EQ(world.engine.cancelled().size(), 1u);
  EXPECT_EQ(world.model().in_use, Blocks{10}) << "the engine still holds the blocks";
  world.complete_nth(0);
  world.flush();
  EXPECT_EQ(world.message(id).ending.outcome, Outcome::cancelled);
  EXPECT_EQ(world.mailbox().size(), 1u);
  world.dispatcher.check_idle();
}

TEST(Dispatcher, a_cancel_that_comes_after_the_result_changes_nothing) {
  World world(10);
  world.ready();
  const JobId id = world.submit(job_of(10));
  world.complete_nth(0);
  ASSERT_EQ(world.phase(id), LivePhase::ending);
  world.cancel(id);
  world.flush();
  EXPECT_EQ(world.mailbox().size(), 1u);
  EXPECT_EQ(world.message(id).ending.outcome, Outcome::completed);
}

TEST(Dispatcher, a_job_parked_past_its_deadline_is_deadline_missed) {  // B7
  World world(10);
  world.ready();
  world.submit(job_of(10));
  JobSpec spec = job_of(10);
  spec.deadline = world.clock.now() + seconds(30);
  const JobId late = world.submit(spec);
  ASSERT_EQ(world.phase(late), LivePhase::parked);
  world.pass(seconds(29));
  ASSERT_EQ(world.phase(late), LivePhase::parked);
  EXPECT_LE(world.dispatcher.next_due(), seconds(1)) << "the loop must wake for it";
  world.pass(seconds(1));
  world.flush();
  EXPECT_EQ(world.message(late).ending.outcome, Outcome::deadline_missed);
  EXPECT_EQ(world.model().parked, 0);
}

TEST(Dispatcher, a_job_running_past_its_deadline_is_stopped_and_frees_its_units) {
  World world(10);
  world.ready();
  JobSpec spec = job_of(10);
  spec.deadline = world.clock.now() + seconds(30);
  const JobId late = world.submit(spec);
  const JobId next = world.submit(job_of(10));
  world.pass(seconds(30));
  EXPECT_EQ(world.phase(next), LivePhase::running);
  world.flush();
  EXPECT_EQ(world.message(late).ending.outcome, Outcome::deadline_missed);
  EXPECT_EQ(world.message(late).ending.body, "partial");
}

TEST(Dispatcher, a_run_timeout_counts_from_the_start_and_keeps_the_partial_text) {  // A8
  World world(10);
  world.ready();
  world.submit(job_of(10));
  JobSpec spec = job_of(10);
  spec.run_timeout = seconds(60);
  const JobId timed = world.submit(spec);
  world.pass(seconds(100));
  ASSERT_EQ(world.phase(timed), LivePhase::parked) << "waiting is no running";
  world.complete_nth(0);
  world.pass(seconds(59));
  ASSERT_EQ(world.phase(timed), LivePhase::running);
  world.pass(seconds(1));
  EXPECT_EQ(world.model().in_use, Blocks{0});
  world.flush();
  const Message message = world.message(timed);
  EXPECT_EQ(message.ending.outcome, Outcome::failed);
  EXPECT_EQ(message.ending.error_code, "run_timeout");
  EXPECT_NE(message.ending.error_message.find("60 s"), std::string::npos);
  EXPECT_EQ(message.ending.body, "partial");
  EXPECT_EQ(message.ending.completion_tokens, 45);
  EXPECT_EQ(message.ending.run_us, 60'000'000);
  EXPECT_EQ(message.attempts, 0) << "a timeout is final and no retry";
}

TEST(Dispatcher, a_job_without_a_run_timeout_has_the_models) {
  World world(10);
  world.port.run_timeout_default = seconds(7);
  world.ready();
  const JobId id = world.submit(job_of(10));
  world.pass(seconds(7));
  world.flush();
  EXPECT_EQ(world.message(id).ending.error_code, "run_timeout");
}

TEST(Dispatcher, a_whole_result_that_beats_the_run_timeouts_stop_is_kept) {  // A8
  World world(10);
  world.port.run_timeout_default = seconds(7);
  world.ready();
  world.engine.answer_cancels = false;
  const JobId id = world.submit(job_of(10));
  world.pass(seconds(7));
  world.complete_nth(0);
  world.flush();
  EXPECT_EQ(world.message(id).ending.outcome, Outcome::completed);
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

// --- the store in trouble

TEST(Dispatcher, a_result_outlives_a_store_that_is_away_and_is_stored_once) {
  World world(10);
  world.ready();
  const JobId id = world.submit(job_of(5));
  world.store.faults["finish"] = FaultyStore::Fault::before;
  world.complete_nth(0);
  for (int i = 0; i < 60; ++i) world.pass(seconds(1));
  EXPECT_TRUE(std::holds_alternative<Job>(world.get(id)));
  EXPECT_EQ(world.dispatcher.stats()->unstored_endings, 1);
  EXPECT_TRUE(world.dispatcher.stats()->store_trouble);
  EXPECT_LT(world.store.calls["finish"], 30) << "the delay grows";
  world.store.faults.clear();
  world.pass(seconds(5));
  EXPECT_EQ(world.message(id).ending.body, "whole");
  EXPECT_EQ(world.mailbox().size(), 1u);
  EXPECT_FALSE(world.dispatcher.stats()->store_trouble);
  world.dispatcher.check_idle();
}

TEST(Dispatcher, a_finish_whose_answer_was_lost_is_not_stored_twice) {
  World world(10);
  world.ready();
  const JobId id = world.submit(job_of(5));
  world.store.faults["finish"] = FaultyStore::Fault::after;
  world.complete_nth(0);
  world.flush();
  world.store.faults.clear();
  world.pass(seconds(5));
  EXPECT_GE(world.store.calls["finish"], 2);
  EXPECT_EQ(world.mailbox().size(), 1u);
  EXPECT_EQ(world.message(id).ending.outcome, Outcome::completed);
  EXPECT_EQ(world.model().outcomes.at("completed"), 1);
  world.dispatcher.check_idle();
}

TEST(Dispatcher, a_claim_that_fails_is_asked_again) {
  World world(10);
  world.store.faults["claim"] = FaultyStore::Fault::before;
  world.ready();
  const JobId id = world.submit(job_of(5));
  EXPECT_EQ(world.phase(id), std::nullopt);
  EXPECT_LE(world.dispatcher.next_due(), milliseconds(50));
  world.store.faults.clear();
  world.pass(milliseconds(50));
  EXPECT_EQ(world.phase(id), LivePhase::running);
}

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

TEST(Dispatcher, after_a_refusal_that_is_not_the_stores_absence_endings_go_one_by_one) {
  World world(100);
  world.ready();
  for (int i = 0; i < 3; ++i) world.submit(job_of(5));
  world.store.faults["finish"] = FaultyStore::Fault::before;
  world.store.answers["finish"] = internal_error("one of them is poison");
  for (size_t n = 0; n < 3; ++n) world.complete_nth(n);
  world.flush();
  world.store.faults.clear();
  world.pass(seconds(1));
  EXPECT_EQ(world.store.finish_sizes, (std::vector<size_t>{3, 1, 1, 1}));
  EXPECT_EQ(world.mailbox().size(), 3u);
}

TEST(Dispatcher, unstored_endings_bound_the_claims) {
  World world(1000, 2, 2);
  world.ready();
  world.store.faults["finish"] = FaultyStore::Fault::before;
  for (int i = 0; i < 100; ++i) world.submit(job_of(1));
  for (int i = 0; i < 200; ++i) {
    for (const RequestId id : world.engine.running()) world.engine.complete(id);
    world.pass(seconds(1));
  }
  EXPECT_LE(world.model().claimed, 4 * (2 + 2)) << "results are kept, so no more are made";
  world.store.faults.clear();
  for (int i = 0; i < 20; ++i) {
    world.pass(seconds(1));
    world.complete_all();
  }
  EXPECT_EQ(world.mailbox().size(), 100u);
  world.dispatcher.check_idle();
}

// --- ownership

TEST(Dispatcher, after_a_loss_of_ownership_nothing_is_held_and_everything_is_claimed_anew) {
  World world(10, 2);
  world.ready();
  std::vector<JobId> ids;
  for (int i = 0; i < 4; ++i) ids.push_back(world.submit(job_of(6)));
  ASSERT_EQ(world.model().running, 1);
  ASSERT_EQ(world.model().parked, 2);
  const size_t started = world.engine.started().size();
  world.lose_ownership();
  EXPECT_EQ(world.model().leases_lost, 3);
  EXPECT_EQ(world.engine.cancelled().size(), 1u) << "its run is stopped";
  EXPECT_EQ(world.model().running, 1) << "and what waits in the store is claimed at once";
  EXPECT_EQ(world.engine.started().size(), started + 1);
  EXPECT_EQ(world.store.calls["release"], 0) << "there is nothing to give back";
  world.complete_all();
  for (const JobId id : ids) EXPECT_EQ(world.message(id).ending.outcome, Outcome::completed);
  EXPECT_EQ(world.mailbox().size(), 4u);
  world.dispatcher.check_idle();
}

TEST(Dispatcher, a_lost_run_keeps_its_units_until_the_engine_has_stopped_it) {
  World world(10);
  world.ready();
  world.engine.answer_cancels = false;
  const JobId id = world.submit(job_of(10));
  world.lose_ownership();
  EXPECT_EQ(world.model().in_use, Blocks{10}) << "I2: the engine still holds the blocks";
  EXPECT_EQ(world.phase(id), LivePhase::parked) << "the job was claimed again beside its lost run";
  world.cancel(id);
  world.flush();
  EXPECT_EQ(world.message(id).ending.outcome, Outcome::cancelled);
  world.complete_nth(0);
  world.flush();
  EXPECT_EQ(world.message(id).ending.outcome, Outcome::cancelled) << "the late result is ignored";
  EXPECT_EQ(world.mailbox().size(), 1u);
  world.dispatcher.check_idle();
}

TEST(Dispatcher, endings_the_store_has_not_got_are_dropped_with_their_leases) {
  World world(10);
  world.ready();
  world.store.faults["finish"] = FaultyStore::Fault::before;
  const JobId id = world.submit(job_of(5));
  world.complete_nth(0);
  world.flush();
  ASSERT_EQ(world.dispatcher.stats()->unstored_endings, 1);
  world.lose_ownership();
  EXPECT_EQ(world.dispatcher.stats()->unstored_endings, 0);
  EXPECT_EQ(world.phase(id), LivePhase::running) << "it runs again, under a new lease";
  world.store.faults.clear();
  world.complete_all();
  world.pass(seconds(1));  // the store's back-off
  EXPECT_EQ(world.mailbox().size(), 1u);
  EXPECT_EQ(world.model().outcomes.at("completed"), 1);
  world.dispatcher.check_idle();
}

TEST(Dispatcher, an_ending_the_store_is_looking_at_counts_as_it_answers) {
  World world(10);
  world.ready();
  world.store.hold_finishes = true;
  const JobId stored = world.submit(job_of(5));
  world.complete_nth(0);
  world.flush();
  world.lose_ownership();  // too late for `stored`: the store took its ending
  EXPECT_EQ(world.phase(stored), LivePhase::ending);
  world.store.hold_finishes = false;
  world.store.let_go();
  world.settle();
  EXPECT_EQ(world.message(stored).ending.outcome, Outcome::completed);
  EXPECT_EQ(world.model().outcomes.at("completed"), 1);
  EXPECT_EQ(world.model().leases_lost, 0);
  world.dispatcher.check_idle();
}

TEST(Dispatcher, an_ending_the_store_failed_to_take_is_not_sent_again_after_the_loss) {
  World world(10);
  world.ready();
  world.store.hold_finishes = true;
  world.store.faults["finish"] = FaultyStore::Fault::before;
  const JobId id = world.submit(job_of(5));
  world.complete_nth(0);
  world.flush();
  world.lose_ownership();
  world.store.hold_finishes = false;
  world.store.faults.clear();
  world.store.let_go();
  world.pass(seconds(10));
  EXPECT_EQ(world.store.calls["finish"], 1);
  EXPECT_EQ(world.model().leases_lost, 1);
  EXPECT_EQ(world.phase(id), LivePhase::running);
  world.complete_all();
  world.pass(seconds(1));  // the store's back-off
  EXPECT_EQ(world.mailbox().size(), 1u);
  world.dispatcher.check_idle();
}

TEST(Dispatcher, a_claim_that_was_under_way_at_the_loss_is_given_back) {
  World world(10);
  world.ready();
  world.store.hold_claims = true;
  const JobId id = world.submit(job_of(5));
  world.dispatcher.ownership_lost();  // the store does not say on which side the claim fell
  world.settle();
  world.store.hold_claims = false;
  world.store.let_go();
  world.settle();
  EXPECT_EQ(world.store.calls["release"], 1);
  world.pass(seconds(2));
  EXPECT_EQ(world.phase(id), LivePhase::running);
  EXPECT_EQ(std::get<Job>(world.get(id)).attempts, 0);
  world.complete_all();
  world.dispatcher.check_idle();
}

TEST(Dispatcher, a_body_rendered_after_the_loss_is_ignored) {
  World world(10);
  std::vector<std::function<void()>> tasks;
  Dispatcher dispatcher({}, world.store, world.clock, [&](std::function<void()> task) {
    tasks.push_back(std::move(task));
    return true;
  });
  FakeEngine engine(kBlockSize, [&](GenerationResult r) { dispatcher.on_result(std::move(r)); });
  world.port.engine = &engine;
  dispatcher.model_ready("m", world.port);
  world.submit(job_of(5));
  const auto work = [&](bool run_tasks) {
    do {
      while (dispatcher.run_once()) continue;
      if (run_tasks)
        for (auto& task : std::exchange(tasks, {})) task();
    } while (run_tasks && !tasks.empty());
    while (dispatcher.run_once()) continue;
  };
  work(true);
  ASSERT_EQ(engine.running().size(), 1u);
  engine.complete(engine.running().front());
  work(false);
  ASSERT_EQ(tasks.size(), 1u) << "the body is being written";
  dispatcher.ownership_lost();
  dispatcher.drain();
  work(true);
  EXPECT_TRUE(dispatcher.drained());
  EXPECT_TRUE(world.mailbox().empty());
  dispatcher.check_idle();
}

// --- draining

TEST(Dispatcher, a_drain_gives_parked_jobs_back_and_lets_running_ones_finish) {  // B12
  World world(10);
  world.ready();
  const JobId running = world.submit(job_of(10));
  const JobId parked = world.submit(job_of(10));
  world.dispatcher.drain();
  world.settle();
  EXPECT_EQ(std::get<Job>(world.get(parked)).state, JobState::queued);
  EXPECT_EQ(std::get<Job>(world.get(parked)).attempts, 0);
  EXPECT_FALSE(world.dispatcher.drained());
  const JobId later = world.submit(job_of(1));
  world.pass(seconds(5));
  EXPECT_EQ(std::get<Job>(world.get(later)).state, JobState::queued)
      << "nothing is claimed any more";
  world.complete_nth(0);
  world.flush();
  EXPECT_EQ(world.message(running).ending.outcome, Outcome::completed);
  EXPECT_TRUE(world.dispatcher.drained());
  world.dispatcher.check_idle();
}

TEST(Dispatcher, what_still_runs_at_the_drain_timeout_is_given_back_without_an_attempt) {
  World world(10);
  world.ready();
  const JobId id = world.submit(job_of(10));
  world.dispatcher.drain();
  world.settle();
  world.pass(seconds(30));
  EXPECT_TRUE(world.dispatcher.drained());
  const Job job = std::get<Job>(world.get(id));
  EXPECT_EQ(job.state, JobState::queued);
  EXPECT_EQ(job.attempts, 0);
  world.dispatcher.check_idle();
}

TEST(Dispatcher, stopping_at_once_does_not_wait_for_the_drain_timeout) {
  World world(10);
  world.ready();
  const JobId id = world.submit(job_of(10));
  world.dispatcher.drain();
  world.settle();
  world.dispatcher.stop_now();
  world.settle();
  EXPECT_TRUE(world.dispatcher.drained());
  EXPECT_EQ(std::get<Job>(world.get(id)).state, JobState::queued);
}

TEST(Dispatcher, an_idle_drain_is_over_at_once) {  // A10
  World world(10);
  world.ready();
  world.dispatcher.drain();
  world.settle();
  EXPECT_TRUE(world.dispatcher.drained());
}

TEST(Dispatcher, a_whole_result_that_beats_the_drains_stop_is_kept) {
  World world(10);
  world.ready();
  world.engine.answer_cancels = false;
  const JobId id = world.submit(job_of(10));
  world.dispatcher.stop_now();
  world.settle();
  world.complete_nth(0);
  world.flush();
  EXPECT_EQ(world.message(id).ending.outcome, Outcome::completed);
  EXPECT_TRUE(world.dispatcher.drained());
}

TEST(Dispatcher, releases_of_a_drain_are_repeated_until_the_store_takes_them) {
  World world(10);
  world.ready();
  world.submit(job_of(10));
  const JobId parked = world.submit(job_of(10));
  world.store.faults["release"] = FaultyStore::Fault::after;
  world.dispatcher.stop_now();
  world.settle();
  EXPECT_FALSE(world.dispatcher.drained());
  world.store.faults.clear();
  world.pass(seconds(6));
  EXPECT_TRUE(world.dispatcher.drained());
  EXPECT_EQ(std::get<Job>(world.get(parked)).state, JobState::queued);
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

TEST(Dispatcher, a_lost_wake_up_is_healed_by_the_poll) {
  World world(10);
  world.store.set_observer({});  // a store that tells nothing
  world.ready();
  const JobId id = world.submit(job_of(5));
  ASSERT_EQ(world.phase(id), std::nullopt);
  world.pass(milliseconds(1250));  // the poll interval and its jitter
  EXPECT_EQ(world.phase(id), LivePhase::running);
}

}  // namespace
}  // namespace parkd
