#include "lib/endpoint/model_endpoint.h"

#include <chrono>
#include <span>
#include <utility>
#include <variant>
#include <vector>

#include "lib/base/check.h"
#include "lib/base/log.h"
#include "lib/dispatch/endings.h"
#include "lib/endpoint/answer_choices.h"
#include "lib/job/endpoints.h"
#include "lib/model/model_card.h"
#include "lib/openai/chat_request.h"
#include "lib/openai/completions_request.h"
#include "lib/pool/price.h"

namespace parkd {
struct ModelEndpoint::Read {
  RequestOptions request;
  std::vector<TokenId> prompt;
  std::string prompt_field;  // of the body
  int32_t max_new_tokens = 0;
  bool drops_first_space = false;  // of the answer
};

ModelEndpoint::ModelEndpoint(std::shared_ptr<const ModelCard> card, EndpointOptions options)
    : card_(std::move(card)), options_(std::move(options)) {
  PARKD_CHECK(card_ != nullptr && options_.context_tokens > 0 && options_.block_size > 0 &&
                  options_.max_num_seqs > 0,
              "an endpoint of a model that can run nothing");
  if (card_->chat_template) {
    answer_form_ = find_answer_form(*card_->chat_template, *card_->tokenizer);
  }
}

Status ModelEndpoint::check(const RequestOptions& request) const {
  if (!request.model.empty() && request.model != options_.model) {
    return invalid_param("model", "the body names model " + request.model +
                                      ", but the job is for model " + options_.model);
  }
  for (const TokenBias& bias : request.sampling.logit_bias) {
    if (bias.token >= card_->shape.vocab) {
      return invalid_param("logit_bias", "logit_bias names token " + std::to_string(bias.token) +
                                             "; the model's vocabulary has " +
                                             std::to_string(card_->shape.vocab));
    }
  }
  return {};
}

Result<ModelEndpoint::Read> ModelEndpoint::read(const std::string& path, std::string_view body,
                                                std::chrono::sys_seconds created_at) const {
  const EndpointPath* known = find_endpoint(path);
  if (known == nullptr) return invalid_param("endpoint", unsupported_endpoint(path));
  auto tried =
      known->endpoint == Endpoint::chat ? read_chat(body, created_at) : read_completions(body);
  if (!tried.ok()) {
    const Status why = tried.status();
    return Status(why.code(), why.message())
        .with_param(why.param().empty() ? std::string(known->prompt_field) : why.param());
  }
  Read read = std::move(tried).value();
  read.prompt_field = std::string(known->prompt_field);
  if (read.prompt.empty()) return invalid_param(read.prompt_field, "the prompt has no tokens");
  PARKD_ASSIGN_OR_RETURN(
      read.max_new_tokens,
      resolve_max_new_tokens(read.request.max_tokens, static_cast<int32_t>(read.prompt.size()),
                             options_.context_tokens, read.prompt_field));
  return read;
}

Result<ModelEndpoint::Read> ModelEndpoint::read_chat(std::string_view body,
                                                     std::chrono::sys_seconds created_at) const {
  PARKD_ASSIGN_OR_RETURN(ChatRequest request, parse_chat_request(body, options_.defaults));
  PARKD_RETURN_IF_ERROR(check(request));
  if (!card_->chat_template) {
    return invalid_param("messages", "model " + options_.model +
                                         " is a base model: it has no chat template, so it cannot "
                                         "take messages; a job of endpoint " +
                                         path_of(Endpoint::completions) + " takes a prompt");
  }
  PARKD_ASSIGN_OR_RETURN(const std::vector<PromptSegment> prompt, render_chat(request, created_at));
  if (!request.tool_names.empty() && answer_form_.calls == CallForm::none) {
    return invalid_param("tools", "model " + options_.model +
                                      " writes calls in no form that is known (hermes, mistral and "
                                      "llama3 are), so they would stay text: leave tools out, or "
                                      "give tool_choice \"none\"");
  }
  Read read;
  PARKD_ASSIGN_OR_RETURN(read.prompt, card_->tokenizer->encode_prompt(prompt));
  read.drops_first_space = drops_first_space(request);
  read.request = std::move(request);
  return read;
}

Result<std::vector<PromptSegment>> ModelEndpoint::render_chat(
    const ChatRequest& request, std::chrono::sys_seconds created_at) const {
  ChatTemplateOptions options = request.template_options;
  options.created_at = created_at;
  return card_->chat_template->render(request.messages, options);
}

// An answer is a text of its own, unless it goes on with another.
bool ModelEndpoint::drops_first_space(const ChatRequest& request) const {
  return card_->tokenizer->drops_first_space() && !request.template_options.continue_final_message;
}

// A text is only letters, as a message is: who means a special token gives its id.
Result<ModelEndpoint::Read> ModelEndpoint::read_completions(std::string_view body) const {
  PARKD_ASSIGN_OR_RETURN(CompletionsRequest request,
                         parse_completions_request(body, options_.defaults));
  PARKD_RETURN_IF_ERROR(check(request));
  Read read;
  if (const auto* text = std::get_if<std::string>(&request.prompt)) {
    const PromptSegment segment{PromptSegment::Kind::content, *text};
    PARKD_ASSIGN_OR_RETURN(read.prompt, card_->tokenizer->encode_prompt({&segment, 1}));
  } else {
    read.prompt = std::move(std::get<std::vector<TokenId>>(request.prompt));
    for (size_t i = 0; i < read.prompt.size(); ++i) {
      if (read.prompt[i] >= card_->shape.vocab) {
        const std::string field = "prompt[" + std::to_string(i) + "]";
        return invalid_param(field, field + " is " + std::to_string(read.prompt[i]) +
                                        "; the model's vocabulary has " +
                                        std::to_string(card_->shape.vocab));
      }
    }
  }
  read.request = std::move(request);
  return read;
}

Status ModelEndpoint::admit(JobSpec& spec) const {
  PARKD_ASSIGN_OR_RETURN(
      const Read read,
      this->read(spec.endpoint, spec.body,
                 std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now())));
  const auto prompt_tokens = static_cast<int32_t>(read.prompt.size());
  PARKD_RETURN_IF_ERROR(fits_at_all({options_.model, read.request.n, prompt_tokens,
                                     read.max_new_tokens, options_.block_size, options_.capacity,
                                     options_.max_num_seqs, read.prompt_field}));
  spec.n_choices = read.request.n;
  spec.prompt_tokens = prompt_tokens;
  spec.max_new_tokens = read.max_new_tokens;
  spec.tokens_are_exact = true;
  return {};
}

// A tenant's prompts share KV blocks with each other, and with all only where the operator says so:
// else the time of a prompt would tell what another tenant has asked.
PrefixRoot ModelEndpoint::prefix_root(const JobSpec& spec) const {
  PrefixRoot root;
  if (!options_.tenants_share_prefixes) root.salt = keyed_hash(salt_key_, spec.tenant);
  return root;
}

Result<PreparedJob> ModelEndpoint::prepare(const Job& job) const {
  PARKD_ASSIGN_OR_RETURN(Read read,
                         this->read(job.spec.endpoint, job.spec.body,
                                    std::chrono::floor<std::chrono::seconds>(job.created_at)));
  const RequestOptions& asked = read.request;
  PreparedJob prepared;
  prepared.prompt_field = std::move(read.prompt_field);
  GenerationRequest& request = prepared.request;
  request.prefix_root = prefix_root(job.spec);
  request.prompt = std::move(read.prompt);
  request.max_new_tokens = read.max_new_tokens;
  request.n_choices = asked.n;
  request.sampling = asked.sampling;
  request.sampling.seed = asked.seed ? *asked.seed : job.spec.seed.value_or(0);
  request.stop = asked.stop;
  request.drops_first_space = read.drops_first_space;
  request.stop_tokens = card_->end_tokens;
  return prepared;
}

// The body is read again, as nothing but the run's tokens was kept of it: some ten microseconds.
Status ModelEndpoint::read_view(const Job& job, ChoiceView& view) const {
  if (!answer_form_.reasons() && answer_form_.calls == CallForm::none &&
      !card_->tokenizer->drops_first_space()) {
    return {};
  }
  PARKD_ASSIGN_OR_RETURN(ChatRequest request, parse_chat_request(job.spec.body, options_.defaults));
  view.drops_first_space = drops_first_space(request);
  if (!answer_form_.reasons() && request.tool_names.empty()) return {};
  AnswerPlan plan;
  PARKD_ASSIGN_OR_RETURN(plan.opens_reasoning, opens_reasoning_of(request, job.created_at));
  plan.tool_names = std::move(request.tool_names);
  plan.parallel_calls = request.parallel_tool_calls;
  view.plan = std::move(plan);
  return {};
}

// Only for this a template is rendered again.
Result<bool> ModelEndpoint::opens_reasoning_of(const ChatRequest& request,
                                               WallTime created_at) const {
  if (!answer_form_.reasons()) return false;
  if (request.template_options.continue_final_message) {
    return opens_reasoning(answer_form_, request.messages.back().content);
  }
  PARKD_ASSIGN_OR_RETURN(
      const std::vector<PromptSegment> prompt,
      render_chat(request, std::chrono::floor<std::chrono::seconds>(created_at)));
  return opens_reasoning(answer_form_, prompt);
}

std::string ModelEndpoint::render(const EndedRun& run) const {
  CompletionResponse response;
  response.job_id = run.job.id;
  response.created_at = run.job.created_at;
  response.model = options_.model;
  response.system_fingerprint = options_.system_fingerprint;
  response.prompt_tokens = run.result.prompt_tokens;
  response.completion_tokens = completion_tokens_of(run.result);
  response.figures = run.figures;
  const EndpointPath* known = find_endpoint(run.job.spec.endpoint);
  const bool is_chat = known == nullptr || known->endpoint == Endpoint::chat;
  ChoiceView view{*card_->tokenizer, answer_form_};
  view.logprobs = run.logprobs;
  view.body = run.job.spec.body;
  if (const Status read = is_chat ? read_view(run.job, view) : Status(); !read.ok()) {
    // It ran, so it was read.
    log_error("answer.body_not_read", {{"id", run.job.id}, {"error", read.to_string()}});
  }
  int32_t reasoning_tokens = 0;
  for (size_t i = 0; i < run.result.choices.size(); ++i) {
    response.choices.push_back(show_choice(view, i, run.result.choices[i]));
    reasoning_tokens += response.choices.back().reasoning_tokens;
  }
  if (is_chat && answer_form_.reasons()) response.reasoning_tokens = reasoning_tokens;
  return is_chat ? render_chat_completion(response) : render_text_completion(response);
}

}  // namespace parkd
