#include "lib/dispatch/endings.h"

#include <algorithm>

#include "lib/pool/price.h"
#include "lib/store/rules.h"

namespace parkd {
namespace {

Ending failed(std::string_view code, int32_t status_code, std::string message) {
  Ending ending;
  ending.outcome = Outcome::failed;
  ending.error_code = std::string(code);
  ending.status_code = status_code;
  ending.error_message = std::move(message);
  return ending;
}

}  // namespace

Ending stopped_by_cancel() {
  Ending ending;
  ending.outcome = Outcome::cancelled;
  ending.error_code = "cancelled";
  ending.status_code = 499;  // nginx's "client closed request"; HTTP itself has no word for it
  ending.error_message = "the job was cancelled";
  return ending;
}

Ending stopped_by_deadline() {
  return late_ending({});
}

Ending stopped_by_run_timeout(std::chrono::seconds limit) {
  return failed(failure::kRunTimeout, 408,
                "the job was stopped after its run_timeout of " + std::to_string(limit.count()) +
                    " s in the engine");
}

Ending invalid_request_ending(const Status& why) {
  Ending ending = failed(failure::kInvalidRequest, 400, why.message());
  ending.error_param = why.param();
  return ending;
}

std::string_view failure_code_of(const Status& status) {
  switch (status.code()) {
    case StatusCode::invalid:
      return failure::kInvalidRequest;
    case StatusCode::not_found:
      return failure::kModelUnavailable;
    case StatusCode::exhausted:
      return failure::kOutOfResources;
    case StatusCode::unavailable:
      return failure::kDeviceLost;
    default:
      return failure::kInternal;
  }
}

Ending failed_ending(const Status& status) {
  if (status.code() == StatusCode::invalid) return invalid_request_ending(status);
  const bool away =
      status.code() == StatusCode::unavailable || status.code() == StatusCode::not_found;
  Ending ending = failed(failure_code_of(status), away ? 503 : 500, status.message());
  ending.error_param = status.param();
  return ending;
}

Status fits_at_all(const RunShape& shape) {
  if (shape.n_choices > shape.sequences_max) {
    return invalid_param("n", "n is " + std::to_string(shape.n_choices) + "; model " + shape.model +
                                  " runs at most " + std::to_string(shape.sequences_max) +
                                  " sequences at a time");
  }
  const Blocks cost =
      job_cost(shape.n_choices, shape.prompt_tokens, shape.max_new_tokens, shape.block_size);
  if (cost <= shape.capacity) return {};
  return invalid_param("max_tokens",
                       "the job needs " + std::to_string(cost.count) + " units (" +
                           std::to_string(shape.n_choices) + " x " +
                           std::to_string(shape.prompt_tokens) + " prompt + " +
                           std::to_string(shape.max_new_tokens) + " new tokens in blocks of " +
                           std::to_string(shape.block_size) + "); model " + shape.model + " has " +
                           std::to_string(shape.capacity.count) + " in all");
}

Ending too_large_ending(const Status& why) {
  Ending ending = failed(failure::kTooLarge, 400, why.message());
  ending.error_param = why.param();
  return ending;
}

bool is_complete(const GenerationResult& result) {
  return result.status.ok() &&
         std::none_of(result.choices.begin(), result.choices.end(), [](const auto& choice) {
           return choice.finish_reason == FinishReason::cancelled;
         });
}

int32_t completion_tokens_of(const GenerationResult& result) {
  int32_t n = 0;
  for (const GeneratedChoice& choice : result.choices) n += choice.n_generated;
  return n;
}

}  // namespace parkd
