#include "lib/dispatch/endings.h"

#include <algorithm>

#include "lib/pool/price.h"
#include "lib/store/rules.h"

namespace parkd {
Ending stopped_by_cancel() {
  return ended_as(failure::kCancelled, "the job was cancelled");
}

Ending stopped_by_deadline() {
  return late_ending({});
}

Ending stopped_by_run_timeout(std::chrono::seconds limit) {
  return ended_as(failure::kRunTimeout, "the job was stopped after its run_timeout of " +
                                            std::to_string(limit.count()) + " s in the engine");
}

Ending invalid_request_ending(const Status& why) {
  Ending ending = ended_as(failure::kInvalidRequest, why.message());
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
  Ending ending = ended_as(failure_code_of(status), status.message());
  ending.error_param = status.param();
  return ending;
}

Status fits_at_all(const RunShape& shape) {
  const auto text = [](int64_t number) { return std::to_string(number); };
  if (shape.n_choices > shape.max_num_seqs) {
    return invalid_param("n", "n is " + text(shape.n_choices) + "; model " + shape.model +
                                  " runs at most " + text(shape.max_num_seqs) +
                                  " sequences at a time (max_num_seqs): lower n");
  }
  const auto cost_of = [&](int32_t n_choices) {
    return job_cost(n_choices, shape.prompt_tokens, shape.max_new_tokens, shape.block_size);
  };
  if (cost_of(shape.n_choices) <= shape.capacity) return {};
  const std::string why = "the job needs " + text(cost_of(shape.n_choices).count) + " units (" +
                          text(shape.n_choices) + " x " + text(shape.prompt_tokens) + " prompt + " +
                          text(shape.max_new_tokens) + " new tokens in blocks of " +
                          text(shape.block_size) + "); model " + shape.model + " has " +
                          text(shape.capacity.count) + " in all";
  const int64_t n_fitting = shape.capacity.count / cost_of(1).count;
  const auto new_tokens_fitting = [&](int64_t n_choices) {
    return shape.capacity.count / n_choices * shape.block_size - shape.prompt_tokens;
  };
  if (n_fitting > 0) {
    const int64_t n_tokens = new_tokens_fitting(shape.n_choices);
    return invalid_param("n", "n is " + text(shape.n_choices) + " and " + why + ": lower n to " +
                                  text(n_fitting) +
                                  (n_tokens > 0 ? " or max_tokens to " + text(n_tokens) : ""));
  }
  const int64_t n_tokens = new_tokens_fitting(1);
  if (n_tokens > 0) {
    return invalid_param("max_tokens", "max_tokens is " + text(shape.max_new_tokens) + " and " +
                                           why + ": lower " +
                                           (shape.n_choices > 1 ? "n to 1 and " : "") +
                                           "max_tokens to " + text(n_tokens));
  }
  return invalid_param(shape.prompt_field,
                       "the prompt has " + text(shape.prompt_tokens) + " tokens and " + why +
                           ": shorten it to " + text(shape.capacity.count * shape.block_size - 1) +
                           " tokens at most, those of a chat's template included");
}

Ending too_large_ending(const Status& why) {
  Ending ending = ended_as(failure::kTooLarge, why.message());
  ending.error_param = why.param();
  return ending;
}

bool is_complete(const GenerationResult& result) {
  return result.status.ok() &&
         std::none_of(result.choices.begin(), result.choices.end(), [](const auto& choice) {
           return choice.finish_reason == FinishReason::cancelled;
         });
}

bool has_truncated_choice(const GenerationResult& result) {
  return std::any_of(result.choices.begin(), result.choices.end(), [](const auto& choice) {
    return choice.finish_reason == FinishReason::length;
  });
}

int32_t completion_tokens_of(const GenerationResult& result) {
  int32_t n = 0;
  for (const GeneratedChoice& choice : result.choices) n += choice.n_generated;
  return n;
}

}  // namespace parkd
