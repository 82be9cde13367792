// A job each of whose fields was given, and the comparison of two, for tests of what keeps jobs.
//
// A member that is added to JobSpec does not compile here until it is named: give it a value that
// is not its default, and every store and door must bring it back.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <string>
#include <tuple>
#include <utility>

#include "lib/job/job.h"

namespace parkd {

inline auto members_of(const JobSpec& spec) {
  const auto& [endpoint, model, tenant, priority, mailbox_key, custom_id, batch_id, metadata,
               idempotency_key, body, seed, run_at, deadline, run_timeout, retention, max_attempts,
               n_choices, prompt_tokens, max_new_tokens, tokens_are_exact] = spec;
  return std::tie(endpoint, model, tenant, priority, mailbox_key, custom_id, batch_id, metadata,
                  idempotency_key, body, seed, run_at, deadline, run_timeout, retention,
                  max_attempts, n_choices, prompt_tokens, max_new_tokens, tokens_are_exact);
}

// `expect(one, other, n)` of each member, the n-th of job.h.
template <class Expect, size_t... n>
void of_each_member(const JobSpec& one, const JobSpec& other, const Expect& expect,
                    std::index_sequence<n...>) {
  (expect(std::get<n>(members_of(one)), std::get<n>(members_of(other)), n), ...);
}
using JobMembers = std::make_index_sequence<
    std::tuple_size_v<decltype(members_of(std::declval<const JobSpec&>()))>>;

inline void expect_same(const JobSpec& is, const JobSpec& expected) {
  of_each_member(
      is, expected,
      [](const auto& one, const auto& other, size_t n) {
        EXPECT_EQ(one, other) << "member " << n << " of JobSpec";
      },
      JobMembers());
}

// Scheduled for a minute after `now`; its deadline is later, its batch_id a label.
inline JobSpec whole_spec(WallTime now) {
  JobSpec spec;
  spec.endpoint = kEndpoints[1].path;
  spec.model = "m";
  spec.tenant = "alice";
  spec.priority = Priority::high;
  spec.mailbox_key = "whole box";
  spec.custom_id = "line-1";
  spec.batch_id = "a label";
  spec.metadata = R"({"a": "b"})";
  spec.idempotency_key = "whole key";
  spec.body = R"({"model": "m", "prompt": "\u00e9", "max_tokens": 14, "n": 2, "seed": 42})";
  spec.seed = 42;
  spec.run_at = now + std::chrono::minutes(1);
  spec.deadline = now + std::chrono::hours(8);
  spec.run_timeout = std::chrono::seconds(77);
  spec.retention = std::chrono::hours(5);
  spec.max_attempts = 4;
  spec.n_choices = 2;
  spec.prompt_tokens = 9;
  spec.max_new_tokens = 14;
  spec.tokens_are_exact = true;
  of_each_member(
      spec, JobSpec(),
      [](const auto& given, const auto& left_out, size_t n) {
        EXPECT_NE(given, left_out) << "member " << n << " of JobSpec is not given here";
      },
      JobMembers());
  return spec;
}

}  // namespace parkd
