// The one vocabulary of endings: outcomes, and the codes of what did not complete, each with its
// HTTP status and whether the run is tried again. Dispatcher, stores and jobctl read it here;
// PostgreSQL has is_retryable_v1 and status_code_v1 (migrations/0005), which
// Endings.sql_has_the_same_vocabulary holds to it. Constants and pure functions, any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace parkd {

enum class Outcome : uint8_t { completed, failed, cancelled, deadline_missed, quarantined };
std::string_view to_string(Outcome outcome);
std::optional<Outcome> outcome_from_string(std::string_view word);

namespace failure {
inline constexpr std::string_view kInvalidRequest = "invalid_request";
inline constexpr std::string_view kTooLarge = "too_large";
inline constexpr std::string_view kContextLengthExceeded = "context_length_exceeded";  // OpenAI's
inline constexpr std::string_view kRunTimeout = "run_timeout";
inline constexpr std::string_view kModelUnavailable = "model_unavailable";
inline constexpr std::string_view kInternal = "internal";
inline constexpr std::string_view kDeviceLost = "device_lost";
inline constexpr std::string_view kOutOfResources = "out_of_resources";
// What did not fail, and did not complete either, has its outcome's word for a code.
inline constexpr std::string_view kCancelled = "cancelled";
inline constexpr std::string_view kDeadlineMissed = "deadline_missed";
inline constexpr std::string_view kQuarantined = "quarantined";
}  // namespace failure

struct EndingCode {
  std::string_view code;
  Outcome outcome = Outcome::failed;
  int32_t http_status = 500;  // of the result line; of a result too large to be stored it is 500
  bool is_retryable = false;  // such a run is tried again while the job has attempts left
};

inline constexpr EndingCode kEndingCodes[] = {
    {failure::kInvalidRequest, Outcome::failed, 400, false},
    {failure::kTooLarge, Outcome::failed, 400, false},
    {failure::kContextLengthExceeded, Outcome::failed, 400, false},
    {failure::kRunTimeout, Outcome::failed, 408, false},
    {failure::kModelUnavailable, Outcome::failed, 503, false},
    {failure::kInternal, Outcome::failed, 500, true},
    {failure::kDeviceLost, Outcome::failed, 503, true},
    {failure::kOutOfResources, Outcome::failed, 500, true},
    // nginx's "client closed request"; HTTP itself has no word for it
    {failure::kCancelled, Outcome::cancelled, 499, false},
    {failure::kDeadlineMissed, Outcome::deadline_missed, 408, false},
    {failure::kQuarantined, Outcome::quarantined, 500, false},
};

// nullptr: none of ours.
constexpr const EndingCode* find_ending_code(std::string_view code) {
  for (const EndingCode& known : kEndingCodes) {
    if (known.code == code) return &known;
  }
  return nullptr;
}

constexpr bool is_retryable(std::string_view code) {
  const EndingCode* known = find_ending_code(code);
  return known != nullptr && known->is_retryable;
}

}  // namespace parkd
