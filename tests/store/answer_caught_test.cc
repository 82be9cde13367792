#include "lib/store/answer_caught.h"

#include <gtest/gtest.h>

#include <new>
#include <stdexcept>
#include <string>
#include <vector>

namespace parkd {
namespace {

TEST(AnswerCaught, what_throws_is_an_answer) {
  std::vector<Status> answers;
  const Completion<int> done = [&](const Result<int>& answer) {
    answers.push_back(answer.status());
  };
  answer_caught(done, [] { return Result<int>(1); });
  answer_caught(done, []() -> Result<int> { throw std::bad_alloc(); });
  answer_caught(done, []() -> Result<int> { throw std::runtime_error("a text of PostgreSQL's"); });
  ASSERT_EQ(answers.size(), 3u);
  EXPECT_TRUE(answers[0].ok());
  EXPECT_EQ(answers[1].code(), StatusCode::unavailable);
  EXPECT_EQ(answers[2].code(), StatusCode::internal);
  EXPECT_EQ(answers[2].message().find("PostgreSQL"), std::string::npos) << "raw texts never leave";
}

TEST(AnswerCaught, an_answer_that_cannot_be_given_is_given_as_a_refusal) {
  int n_calls = 0;
  Status last;
  const Completion<int> done = [&](const Result<int>& answer) {
    last = answer.status();
    if (++n_calls == 1) throw std::bad_alloc();
  };
  answer_caught(done, [] { return 1; });
  EXPECT_EQ(n_calls, 2);
  EXPECT_EQ(last.code(), StatusCode::unavailable);
}

TEST(AnswerCaught, what_cannot_be_answered_twice_ends_no_thread) {
  int n_calls = 0;
  const Completion<int> done = [&](const Result<int>&) {
    ++n_calls;
    throw std::bad_alloc();
  };
  answer_caught(done, [] { return 1; });
  EXPECT_EQ(n_calls, 2);
}

TEST(AnswerCaught, nobody_to_answer_is_no_error) {
  bool has_run = false;
  answer_caught(Completion<int>(), [&] {
    has_run = true;
    return 1;
  });
  EXPECT_TRUE(has_run);

  int n_calls = 0;
  Completion<int> done = [&](const Result<int>&) { ++n_calls; };
  answer_once<int>(done, 1);
  answer_once<int>(done, 2);
  EXPECT_EQ(n_calls, 1) << "a call is answered once";
}

}  // namespace
}  // namespace parkd
