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
#include "lib/endpoint/answer_stream.h"
#include "lib/job/endpoints.h"
#include "lib/job/job.h"
#include "lib/model/model_card.h"
#include "lib/openai/chat_request.h"
#include "lib/openai/responses_request.h"
#include "lib/pool/price.h"

namespace parkd {

struct ModelEndpoint::Read {
  RequestOptions request;
  std::vector<GenerationPrompt> prompts;
  std::string prompt_field;  // of the body, as is the next
  std::string max_tokens_field;
  bool prompt_is_list = false;
  bool drops_first_space = false;  // of the answer
};

namespace {

// Of a prompt of a list.
std::string field_of_prompt(std::string_view field, size_t i) {
  return std::string(field) + "[" + std::to_string(i) + "]";
}

// What is refused of the prompt in that field; one of a list is told by it.
Status in_prompt(const Status& why, const std::string& field, bool is_of_list) {
  if (!why.param().empty()) return why;
  return Status(why)
      .with_message((is_of_list ? field + ": " : "") + why.message())
      .with_param(field);
}

// Of a job that was read.
Endpoint endpoint_of(const JobSpec& spec) {
  const EndpointPath* known = find_endpoint(spec.endpoint);
  return known == nullptr ? Endpoint::chat : known->endpoint;
}

}  // namespace

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
  auto tried = known->endpoint == Endpoint::completions ? read_completions(body)
                                                        : read_chat(*known, body, created_at);
  if (!tried.ok()) {
    Status why = tried.status();
    if (why.param().empty()) why.with_param(std::string(known->prompt_field));
    return why;
  }
  Read read = std::move(tried).value();
  read.prompt_field = std::string(known->prompt_field);
  read.max_tokens_field = std::string(known->max_tokens_field);
  for (size_t i = 0; i < read.prompts.size(); ++i) {
    GenerationPrompt& prompt = read.prompts[i];
    const std::string field =
        read.prompt_is_list ? field_of_prompt(read.prompt_field, i) : read.prompt_field;
    const auto max_new_tokens = new_tokens_of(prompt, read.request);
    if (!max_new_tokens.ok()) {
      return in_prompt(max_new_tokens.status(), field, read.prompt_is_list);
    }
    prompt.max_new_tokens = *max_new_tokens;
  }
  return read;
}

Result<int32_t> ModelEndpoint::new_tokens_of(const GenerationPrompt& prompt,
                                             const RequestOptions& request) const {
  if (prompt.tokens.empty()) return invalid("the prompt has no tokens");
  return resolve_max_new_tokens(request.max_tokens, static_cast<int32_t>(prompt.tokens.size()),
                                options_.context_tokens);
}

Result<ChatRequest> ModelEndpoint::parse_chat(Endpoint endpoint, std::string_view body) const {
  if (endpoint != Endpoint::responses) return parse_chat_request(body, options_.defaults);
  PARKD_ASSIGN_OR_RETURN(ResponsesRequest request,
                         parse_responses_request(body, options_.defaults));
  return ChatRequest(std::move(request));
}

Result<ModelEndpoint::Read> ModelEndpoint::read_chat(const EndpointPath& endpoint,
                                                     std::string_view body,
                                                     std::chrono::sys_seconds created_at) const {
  PARKD_ASSIGN_OR_RETURN(ChatRequest request, parse_chat(endpoint.endpoint, body));
  PARKD_RETURN_IF_ERROR(check(request));
  if (!card_->chat_template) {
    return invalid("model " + options_.model +
                   " is a base model: it has no chat template, so it cannot take " +
                   std::string(endpoint.prompt_field) + "; a job of endpoint " +
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
  PARKD_ASSIGN_OR_RETURN(read.prompts.emplace_back().tokens,
                         card_->tokenizer->encode_prompt(prompt));
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
Result<std::vector<TokenId>> ModelEndpoint::tokens_of(CompletionPrompt prompt,
                                                      const std::string& field) const {
  if (const auto* text = std::get_if<std::string>(&prompt)) {
    const PromptSegment segment{PromptSegment::Kind::content, *text};
    return card_->tokenizer->encode_prompt({&segment, 1});
  }
  auto& tokens = std::get<std::vector<TokenId>>(prompt);
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] < card_->shape.vocab) continue;
    const std::string token = field_of_prompt(field, i);
    return invalid_param(token, token + " is " + std::to_string(tokens[i]) +
                                    "; the model's vocabulary has " +
                                    std::to_string(card_->shape.vocab));
  }
  return std::move(tokens);
}

// Each prompt is answered as it would be alone with that seed. Where the body has none, prompts
// that are alike are answered differently, as choices are.
Result<ModelEndpoint::Read> ModelEndpoint::read_completions(std::string_view body) const {
  PARKD_ASSIGN_OR_RETURN(CompletionsRequest request,
                         parse_completions_request(body, options_.defaults));
  PARKD_RETURN_IF_ERROR(check(request));
  Read read;
  read.prompt_is_list = request.prompt_is_list;
  for (size_t i = 0; i < request.prompts.size(); ++i) {
    const std::string field = request.prompt_is_list ? field_of_prompt("prompt", i) : "prompt";
    auto tokens = tokens_of(std::move(request.prompts[i]), field);
    if (!tokens.ok()) return in_prompt(tokens.status(), field, request.prompt_is_list);
    GenerationPrompt& prompt = read.prompts.emplace_back();
    prompt.tokens = std::move(tokens).value();
    if (!request.seed) prompt.first_stream = static_cast<int32_t>(i) * request.n;
  }
  read.request = std::move(request);
  return read;
}

Status ModelEndpoint::admit(JobSpec& spec) const {
  PARKD_ASSIGN_OR_RETURN(
      const Read read,
      this->read(spec.endpoint, spec.body,
                 std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now())));
  std::vector<PromptNeed> needs = needs_of(read.prompts);
  const auto n_prompts = static_cast<int64_t>(needs.size());
  int64_t prompt_tokens = 0;
  int64_t max_new_tokens = 0;
  for (const PromptNeed& need : needs) {
    prompt_tokens += need.prompt_tokens;
    max_new_tokens += need.max_new_tokens;
  }
  PARKD_RETURN_IF_ERROR(fits_at_all({options_.model, read.request.n, std::move(needs),
                                     options_.block_size, options_.capacity, options_.max_num_seqs,
                                     read.prompt_field, read.max_tokens_field}));
  spec.n_choices = static_cast<int32_t>(n_prompts) * read.request.n;
  spec.prompt_tokens = static_cast<int32_t>(ceil_div(prompt_tokens, n_prompts));
  spec.max_new_tokens = static_cast<int32_t>(ceil_div(max_new_tokens, n_prompts));
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
  prepared.max_tokens_field = std::move(read.max_tokens_field);
  GenerationRequest& request = prepared.request;
  request.prefix_root = prefix_root(job.spec);
  request.prompts = std::move(read.prompts);
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
  PARKD_ASSIGN_OR_RETURN(ChatRequest request, parse_chat(endpoint_of(job.spec), job.spec.body));
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

const Tokenizer& ModelEndpoint::tokenizer() const {
  return *card_->tokenizer;
}

Result<AnswerStreamPlan> ModelEndpoint::plan_stream(
    const std::shared_ptr<const ModelEndpoint>& model, const Job& job) {
  AnswerStreamPlan plan{.model = model};
  const EndpointPath* known = find_endpoint(job.spec.endpoint);
  if (known == nullptr) return invalid_param("endpoint", unsupported_endpoint(job.spec.endpoint));
  if (!known->streams) return invalid_param("endpoint", unstreamed_endpoint(known->path));
  plan.endpoint = known->endpoint;
  if (plan.endpoint != Endpoint::chat) return plan;
  ChoiceView view{model->tokenizer(), model->answer_form_};
  PARKD_RETURN_IF_ERROR(model->read_view(job, view));
  plan.plan = std::move(view.plan);
  plan.drops_first_space = view.drops_first_space;
  return plan;
}

std::string ModelEndpoint::render(const EndedRun& run) const {
  CompletionResponse response;
  response.job_id = run.job.id;
  response.created_at = run.job.created_at;
  response.model = options_.model;
  response.system_fingerprint = options_.system_fingerprint;
  response.prompt_tokens = run.result.prompt_tokens;
  response.cached_tokens = run.result.cached_tokens;
  response.completion_tokens = completion_tokens_of(run.result);
  response.figures = run.figures;
  const Endpoint endpoint = endpoint_of(run.job.spec);
  const bool is_chat = endpoint != Endpoint::completions;
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
  switch (endpoint) {
    case Endpoint::chat:
      return render_chat_completion(response);
    case Endpoint::completions:
      return render_text_completion(response);
    case Endpoint::responses:
      return render_response(response, echo_of(run.job));
  }
  return {};
}

ResponseEcho ModelEndpoint::echo_of(const Job& job) const {
  auto request = parse_responses_request(job.spec.body, options_.defaults);
  if (request.ok()) return std::move(request->echo);
  log_error("answer.body_not_read", {{"id", job.id}, {"error", request.status().to_string()}});
  return {};
}

}  // namespace parkd
