#include "lib/job/job.h"

#include <algorithm>
#include <array>
#include <utility>

#include "lib/base/check.h"

namespace parkd {
namespace {

template <class Enum, size_t n>
std::optional<Enum> from_word(const std::array<std::string_view, n>& words, std::string_view word) {
  const auto found = std::find(words.begin(), words.end(), word);
  if (found == words.end()) return std::nullopt;
  return static_cast<Enum>(found - words.begin());
}

constexpr std::array<std::string_view, 4> kPriorities = {"critical", "high", "normal", "low"};
constexpr std::array<std::string_view, 4> kStates = {"scheduled", "queued", "claimed",
                                                     "cancelling"};
constexpr std::array<std::string_view, 5> kOutcomes = {"completed", "failed", "cancelled",
                                                       "deadline_missed", "quarantined"};

}  // namespace

std::string_view to_string(Priority priority) {
  return kPriorities[static_cast<size_t>(priority)];
}
std::optional<Priority> priority_from_string(std::string_view word) {
  return from_word<Priority>(kPriorities, word);
}
std::string_view to_string(JobState state) {
  return kStates[static_cast<size_t>(state)];
}
std::string_view to_string(Outcome outcome) {
  return kOutcomes[static_cast<size_t>(outcome)];
}
std::optional<Outcome> outcome_from_string(std::string_view word) {
  return from_word<Outcome>(kOutcomes, word);
}

Ending ended_as(std::string_view code, std::string message) {
  const EndingCode* known = find_ending_code(code);
  PARKD_CHECK(known != nullptr, "no ending has the code " + std::string(code));
  Ending ending;
  ending.outcome = known->outcome;
  ending.error_code = std::string(code);
  ending.error_message = std::move(message);
  ending.status_code = known->http_status;
  return ending;
}

std::chrono::seconds priority_delay(Priority priority) {
  switch (priority) {
    case Priority::critical:
      return std::chrono::seconds(0);
    case Priority::high:
      return std::chrono::minutes(10);
    case Priority::normal:
      return std::chrono::hours(1);
    case Priority::low:
      return std::chrono::hours(6);
  }
  return std::chrono::seconds(0);
}

WallTime order_key_of(const JobSpec& spec, WallTime created_at) {
  const WallTime from = spec.run_at ? std::max(*spec.run_at, created_at) : created_at;
  return from + priority_delay(spec.priority);
}

}  // namespace parkd
