// That the account of the kill loops can fail: each lie is told to it once, and found.
#include <gtest/gtest.h>

#include "tests/crash/kills_account.h"

namespace parkd::testing {
namespace {

class Lies : public ::testing::Test {
 protected:
  Lies() {
    reader_ = account_.add_reader("reader", box_);
    orders_ = {order("a"), order("b")};
    account_.submitting(orders_);
    account_.accepted(orders_, {1, 2});
    truth_.messages = {message(1, "a", 10), message(2, "b", 11)};
    truth_.outcomes = {{1, "completed"}, {2, "completed"}};
  }

  Order order(const std::string& name) const {
    Order order;
    order.custom_id = name;
    order.box = box_;
    return order;
  }
  Shown message(int64_t id, const std::string& name, uint64_t sequence) const {
    Shown message;
    message.id = id;
    message.sequence = sequence;
    message.tenant = box_.tenant;
    message.mailbox_key = box_.key;
    message.custom_id = name;
    message.outcome = "completed";
    message.text = "text";
    return message;
  }
  void read(const std::vector<Shown>& page) {
    account_.read(reader_, account_.moment(), 0, page, page.empty() ? 0 : page.back().sequence);
  }
  void read_all() { read(truth_.messages); }
  void expect(Fault fault, int64_t n) {
    account_.judge(truth_);
    EXPECT_EQ(account_.faults()[static_cast<size_t>(fault)], n) << told();
  }
  std::string told() const {
    std::string all;
    for (const std::string& finding : account_.findings()) all += finding + "\n";
    return all;
  }

  const Box box_{"tenant", "key", false};
  Account account_;
  Account::Orders orders_;
  Truth truth_;
  int reader_ = 0;
};

TEST_F(Lies, the_truth_has_no_findings) {
  read_all();
  account_.judge(truth_);
  EXPECT_EQ(told(), "");
}

TEST_F(Lies, a_message_that_a_reader_never_saw_is_skipped) {
  read({truth_.messages[1]});
  expect(Fault::skipped, 1);
}

TEST_F(Lies, an_acknowledged_job_without_a_message_is_lost) {
  read({truth_.messages[0]});
  truth_.messages.pop_back();
  expect(Fault::lost, 1);
}

TEST_F(Lies, a_job_that_nobody_knows_is_lost) {
  read_all();
  truth_.outcomes.erase(2);
  expect(Fault::lost, 1);
}

TEST_F(Lies, a_job_that_has_ended_and_is_unknown_later_is_lost) {
  read_all();
  account_.looked_at(1, account_.moment(), std::nullopt);
  expect(Fault::lost, 1);
}

TEST_F(Lies, a_job_that_runs_again_after_its_message_is_doubled) {
  read_all();
  account_.looked_at(1, account_.moment(), "");
  expect(Fault::doubled, 1);
}

TEST_F(Lies, a_second_message_is_doubled) {
  truth_.messages.push_back(message(1, "a", 12));
  read_all();
  account_.judge(truth_);
  EXPECT_GE(account_.faults()[1], 1) << told();
}

TEST_F(Lies, the_same_page_twice_is_doubled) {
  read_all();
  read({truth_.messages[0]});
  expect(Fault::doubled, 1);
}

TEST_F(Lies, a_key_with_two_jobs_is_doubled) {
  read_all();
  account_.accepted({orders_[0]}, {3});
  expect(Fault::doubled, 1);
}

TEST_F(Lies, a_plain_submit_without_an_answer_may_have_one_job_and_not_two) {
  account_.submitting({order("c")});
  truth_.messages.push_back(message(7, "c", 12));
  read_all();
  account_.judge(truth_);
  EXPECT_EQ(told(), "") << "one is no finding";
  truth_.messages = {message(8, "c", 13)};
  account_.noticed(truth_.messages);
  truth_.messages.clear();
  expect(Fault::doubled, 1);
}

TEST_F(Lies, half_a_submit_is_wrong) {
  account_.submitting({order("c"), order("d")});
  truth_.messages.push_back(message(7, "c", 12));
  read_all();
  expect(Fault::wrong, 1);
}

TEST_F(Lies, a_refused_job_that_ran_is_wrong) {
  Order late = order("c");
  late.may_miss = true;
  account_.submitting({late});
  account_.refused({late}, "its deadline has passed");
  truth_.messages.push_back(message(7, "c", 12));
  read_all();
  expect(Fault::wrong, 1);
}

TEST_F(Lies, two_takers_of_a_message_are_doubled) {
  read_all();
  account_.took(box_, {truth_.messages[0]});
  account_.took(box_, {truth_.messages[0]});
  truth_.messages.erase(truth_.messages.begin());
  expect(Fault::doubled, 1);
}

TEST_F(Lies, a_taken_message_that_is_there_is_doubled) {
  read_all();
  account_.took(box_, {truth_.messages[0]});
  expect(Fault::doubled, 1);
}

TEST_F(Lies, a_take_without_an_answer_may_have_taken_it_or_not) {
  read_all();
  account_.take_in_doubt(truth_.messages);
  truth_.messages.pop_back();
  account_.judge(truth_);
  EXPECT_EQ(told(), "");
}

TEST_F(Lies, another_answer_to_the_same_question_is_wrong) {
  truth_.messages[1].text = "another text";
  read_all();
  expect(Fault::wrong, 1);
}

TEST_F(Lies, an_end_that_nobody_asked_for_is_wrong) {
  for (const char* outcome : {"failed", "cancelled", "deadline_missed", "quarantined"}) {
    Account account;
    account.add_reader("reader", box_);
    account.submitting({orders_[0]});
    account.accepted({orders_[0]}, {1});
    Truth truth;
    truth.messages = {truth_.messages[0]};
    truth.messages[0].outcome = outcome;
    truth.outcomes[1] = outcome;
    account.read(0, account.moment(), 0, truth.messages, 10);
    account.judge(truth);
    EXPECT_EQ(account.faults()[static_cast<size_t>(Fault::wrong)], 1) << outcome;
  }
}

TEST_F(Lies, a_batch_that_counts_wrong_or_does_not_end_is_found) {
  Order member = order("m");
  member.batch = "batch_1";
  account_.batch_opened("batch_1");
  account_.submitting({member});
  account_.accepted({member}, {3});
  truth_.messages.push_back(message(3, "m", 12));
  truth_.messages.back().batch = "batch_1";
  truth_.outcomes[3] = "completed";
  read_all();
  truth_.batches["batch_1"] = {"in_progress", 2, 0, {{"completed", 1}}};
  expect(Fault::wrong, 1);  // two members, and there is one
  EXPECT_EQ(account_.faults()[static_cast<size_t>(Fault::leaked)], 1) << told();
}

TEST_F(Lies, a_job_requeued_twice_is_doubled) {
  read_all();
  account_.requeued(1, {{1, 5}});
  account_.requeued(1, {{1, 6}});
  truth_.messages.push_back(message(5, "a", 12));
  truth_.outcomes[5] = "completed";
  read({truth_.messages[2]});
  expect(Fault::doubled, 1);
}

}  // namespace
}  // namespace parkd::testing
