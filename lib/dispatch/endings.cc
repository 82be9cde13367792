#include "lib/dispatch/endings.h"

#include <algorithm>

#include "lib/pool/price.h"
#include "lib/store/rules.h"

namespace parkd {
namespace {

std::string_view code_or(const Status& why, std::string_view otherwise) {
  return why.error_code().empty() ? otherwise : why.error_code();
}

}  // namespace

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

std::string_view failure_code_of(const Status& status) {
  switch (status.code()) {
    case StatusCode::invalid:
      return code_or(status, failure::kInvalidRequest);
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

namespace {

std::string text(int64_t number) {
  return std::to_string(number);
}

// A job of one prompt.
Status prompt_fits(const RunShape& shape, const PromptNeed& prompt) {
  const auto cost_of = [&](int32_t n_choices) {
    return job_cost(n_choices, prompt.prompt_tokens, prompt.max_new_tokens, shape.block_size);
  };
  if (cost_of(shape.n_choices) <= shape.capacity) return {};
  const std::string why = "the job needs " + text(cost_of(shape.n_choices).count) + " units (" +
                          text(shape.n_choices) + " x " + text(prompt.prompt_tokens) +
                          " prompt + " + text(prompt.max_new_tokens) + " new tokens in blocks of " +
                          text(shape.block_size) + "); model " + shape.model + " has " +
                          text(shape.capacity.count) + " in all";
  const std::string& limit = shape.max_tokens_field;
  const int64_t n_fitting = shape.capacity.count / cost_of(1).count;
  const auto new_tokens_fitting = [&](int64_t n_choices) {
    return shape.capacity.count / n_choices * shape.block_size - prompt.prompt_tokens;
  };
  if (n_fitting > 0) {
    const int64_t n_tokens = new_tokens_fitting(shape.n_choices);
    return invalid_param("n", "n is " + text(shape.n_choices) + " and " + why + ": lower n to " +
                                  text(n_fitting) +
                                  (n_tokens > 0 ? " or " + limit + " to " + text(n_tokens) : ""));
  }
  const int64_t n_tokens = new_tokens_fitting(1);
  if (n_tokens > 0) {
    return invalid_param(limit, limit + " is " + text(prompt.max_new_tokens) + " and " + why +
                                    ": lower " + (shape.n_choices > 1 ? "n to 1 and " : "") +
                                    limit + " to " + text(n_tokens))
        .with_error_code(failure::kContextLengthExceeded);
  }
  return invalid_param(shape.prompt_field,
                       "the prompt has " + text(prompt.prompt_tokens) + " tokens and " + why +
                           ": shorten it to " + text(shape.capacity.count * shape.block_size - 1) +
                           " tokens at most, those of a chat's template included")
      .with_error_code(failure::kContextLengthExceeded);
}

Status sequences_fit(const RunShape& shape) {
  const auto n_prompts = static_cast<int64_t>(shape.prompts.size());
  const int64_t n_sequences = n_prompts * shape.n_choices;
  if (n_sequences <= shape.max_num_seqs) return {};
  const std::string limit = "; model " + shape.model + " runs at most " + text(shape.max_num_seqs) +
                            " sequences of a job at a time (max_num_seqs): ";
  if (n_prompts == 1) {
    return invalid_param("n", "n is " + text(shape.n_choices) + limit + "lower n");
  }
  const int64_t n_fitting = shape.max_num_seqs / shape.n_choices;
  return invalid_param(
      shape.prompt_field,
      shape.prompt_field + " has " + text(n_prompts) + " prompts and n is " +
          text(shape.n_choices) + ", so the job has " + text(n_sequences) + " sequences" + limit +
          (n_fitting > 0
               ? "give a job at most " + text(n_fitting) + (n_fitting == 1 ? " prompt" : " prompts")
               : "lower n"));
}

// How many of the prompts, from the first on, a job may have.
size_t n_prompts_fitting(const RunShape& shape) {
  Blocks cost;
  size_t n = 0;
  while (n < shape.prompts.size()) {
    cost += job_cost(shape.n_choices, {&shape.prompts[n], 1}, shape.block_size);
    if (cost > shape.capacity) break;
    ++n;
  }
  return n;
}

}  // namespace

std::vector<PromptNeed> needs_of(const std::vector<GenerationPrompt>& prompts) {
  std::vector<PromptNeed> needs;
  for (const GenerationPrompt& prompt : prompts) {
    needs.push_back({static_cast<int32_t>(prompt.tokens.size()), prompt.max_new_tokens});
  }
  return needs;
}

Status fits_at_all(const RunShape& shape) {
  PARKD_RETURN_IF_ERROR(sequences_fit(shape));
  if (shape.prompts.size() == 1) return prompt_fits(shape, shape.prompts.front());
  for (size_t i = 0; i < shape.prompts.size(); ++i) {
    const std::string field = shape.prompt_field + "[" + text(static_cast<int64_t>(i)) + "]";
    const Status alone = prompt_fits(shape, shape.prompts[i]);
    if (alone.ok()) continue;
    return Status(alone)
        .with_message(field + " alone: " + alone.message())
        .with_param(alone.param() == shape.prompt_field ? field : alone.param());
  }
  const Blocks cost = job_cost(shape.n_choices, shape.prompts, shape.block_size);
  if (cost <= shape.capacity) return {};
  return invalid_param(shape.prompt_field,
                       shape.prompt_field + " has " +
                           text(static_cast<int64_t>(shape.prompts.size())) + " prompts and n is " +
                           text(shape.n_choices) + ", so the job needs " + text(cost.count) +
                           " units; model " + shape.model + " has " + text(shape.capacity.count) +
                           " in all: give it fewer (the first " +
                           text(static_cast<int64_t>(n_prompts_fitting(shape))) + " fit)");
}

Ending too_large_ending(const Status& why) {
  Ending ending = ended_as(code_or(why, failure::kTooLarge), why.message());
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
