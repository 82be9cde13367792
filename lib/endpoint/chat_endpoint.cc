#include "lib/endpoint/chat_endpoint.h"

#include <chrono>
#include <span>
#include <utility>
#include <vector>

#include "lib/base/check.h"
#include "lib/dispatch/endings.h"
#include "lib/model/model_card.h"
#include "lib/pool/price.h"

namespace parkd {
namespace {

std::string_view word_of(FinishReason reason) {
  switch (reason) {
    case FinishReason::stop:
      return "stop";
    case FinishReason::length:
      return "length";
    case FinishReason::cancelled:
      return "cancelled";
  }
  return "stop";
}

ShownToken show(const Tokenizer& tokenizer, TokenId token, float logprob) {
  ShownToken shown{std::string(tokenizer.token_bytes(token)), logprob};
  if (shown.bytes.empty()) shown.name = tokenizer.token_text(token);
  return shown;
}

std::vector<ShownLogprob> show_all(const Tokenizer& tokenizer,
                                   std::span<const SampledToken> sampled) {
  std::vector<ShownLogprob> shown;
  shown.reserve(sampled.size());
  for (const SampledToken& token : sampled) {
    ShownLogprob entry{show(tokenizer, token.token, token.logprob), {}};
    for (const TokenLogprob& other : token.top) {
      entry.top.push_back(show(tokenizer, other.token, other.logprob));
    }
    shown.push_back(std::move(entry));
  }
  return shown;
}

}  // namespace

struct ChatEndpoint::Read {
  ChatRequest request;
  std::vector<TokenId> prompt;
  int32_t max_new_tokens = 0;
};

ChatEndpoint::ChatEndpoint(std::shared_ptr<const ModelCard> card, ChatEndpointOptions options)
    : card_(std::move(card)), options_(std::move(options)) {
  PARKD_CHECK(card_ != nullptr && options_.context_tokens > 0 && options_.block_size > 0 &&
                  options_.max_num_seqs > 0,
              "an endpoint of a model that can run nothing");
}

Result<ChatEndpoint::Read> ChatEndpoint::read(std::string_view body,
                                              std::chrono::sys_seconds created_at) const {
  Read read;
  PARKD_ASSIGN_OR_RETURN(read.request, parse_chat_request(body, options_.defaults));
  if (!read.request.model.empty() && read.request.model != options_.model) {
    return invalid_param("model", "the body names model " + read.request.model +
                                      ", but the job is for model " + options_.model);
  }
  for (const TokenBias& bias : read.request.sampling.logit_bias) {
    if (bias.token >= card_->shape.vocab) {
      return invalid_param("logit_bias", "logit_bias names token " + std::to_string(bias.token) +
                                             "; the model's vocabulary has " +
                                             std::to_string(card_->shape.vocab));
    }
  }
  if (!card_->chat_template) {
    return invalid_param("messages", "model " + options_.model +
                                         " is a base model: it has no chat template, so it cannot "
                                         "take messages");
  }
  ChatTemplateOptions& wanted = read.request.template_options;
  wanted.created_at = created_at;
  PARKD_ASSIGN_OR_RETURN(const auto segments,
                         card_->chat_template->render(read.request.messages, wanted));
  auto prompt = card_->tokenizer->encode_prompt(segments);
  if (!prompt.ok()) {
    const Status& why = prompt.status();
    return Status(why.code(), why.message())
        .with_param(why.param().empty() ? "messages" : why.param());
  }
  read.prompt = std::move(prompt).value();
  if (read.prompt.empty()) return invalid_param("messages", "the prompt has no tokens");
  PARKD_ASSIGN_OR_RETURN(
      read.max_new_tokens,
      resolve_max_new_tokens(read.request.max_tokens, static_cast<int32_t>(read.prompt.size()),
                             options_.context_tokens));
  return read;
}

Status ChatEndpoint::admit(JobSpec& spec) const {
  if (spec.endpoint != kChatPath) {
    return invalid_param("endpoint", unsupported_endpoint(spec.endpoint));
  }
  PARKD_ASSIGN_OR_RETURN(const Read read,
                         this->read(spec.body, std::chrono::floor<std::chrono::seconds>(
                                                   std::chrono::system_clock::now())));
  const auto prompt_tokens = static_cast<int32_t>(read.prompt.size());
  PARKD_RETURN_IF_ERROR(
      fits_at_all({options_.model, read.request.n, prompt_tokens, read.max_new_tokens,
                   options_.block_size, options_.capacity, options_.max_num_seqs}));
  spec.n_choices = read.request.n;
  spec.prompt_tokens = prompt_tokens;
  spec.max_new_tokens = read.max_new_tokens;
  spec.tokens_are_exact = true;
  return {};
}

// A tenant's prompts share KV blocks with each other, and with all only where the operator says so:
// else the time of a prompt would tell what another tenant has asked.
PrefixRoot ChatEndpoint::prefix_root(const JobSpec& spec) const {
  PrefixRoot root;
  if (!options_.tenants_share_prefixes) root.salt = keyed_hash(salt_key_, spec.tenant);
  return root;
}

Result<PreparedJob> ChatEndpoint::prepare(const Job& job) const {
  PARKD_ASSIGN_OR_RETURN(
      Read read,
      this->read(job.spec.body, std::chrono::floor<std::chrono::seconds>(job.created_at)));
  const ChatRequest& asked = read.request;
  PreparedJob prepared;
  GenerationRequest& request = prepared.request;
  request.prefix_root = prefix_root(job.spec);
  request.prompt = std::move(read.prompt);
  request.max_new_tokens = read.max_new_tokens;
  request.n_choices = asked.n;
  request.sampling = asked.sampling;
  request.sampling.seed = asked.seed ? *asked.seed : job.spec.seed.value_or(0);
  request.stop = asked.stop;
  request.stop_tokens = card_->end_tokens;
  return prepared;
}

std::string ChatEndpoint::render(const EndedRun& run) const {
  CompletionResponse response;
  response.job_id = run.job.id;
  response.created_at = run.job.created_at;
  response.model = options_.model;
  response.system_fingerprint = options_.system_fingerprint;
  response.prompt_tokens = run.result.prompt_tokens;
  response.completion_tokens = completion_tokens_of(run.result);
  response.figures = run.figures;
  for (const GeneratedChoice& choice : run.result.choices) {
    CompletionChoice shown;
    shown.content = choice.text;
    shown.finish_reason = std::string(word_of(choice.finish_reason));
    if (run.logprobs) shown.logprobs = show_all(*card_->tokenizer, choice.logprobs);
    response.choices.push_back(std::move(shown));
  }
  return render_completion(response);
}

}  // namespace parkd
