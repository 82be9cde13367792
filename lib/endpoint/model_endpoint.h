// ModelEndpoint: the endpoints of one model (lib/job/endpoints.h), between bodies and tokens: a job
// says by its path which is meant.
//
// The doors use admit() before they acknowledge a submit; the dispatcher uses prepare() and
// render(). Immutable, so any thread may call it, and shared as shared_ptr<const ModelEndpoint>.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/clock.h"
#include "lib/base/keyed_hash.h"
#include "lib/base/status.h"
#include "lib/base/units.h"
#include "lib/dispatch/model_port.h"
#include "lib/job/endpoints.h"
#include "lib/openai/answer_form.h"
#include "lib/openai/completions_request.h"
#include "lib/openai/request_options.h"
#include "lib/text/prompt_segment.h"

namespace parkd {

struct ChatRequest;
struct AnswerStreamPlan;
struct ChoiceView;
struct Job;
struct JobSpec;
struct ModelCard;
struct ResponseEcho;

struct EndpointOptions {
  std::string model;  // its name in the config
  RequestDefaults defaults;
  int32_t context_tokens = 0;
  int32_t block_size = 0;               // tokens
  Blocks capacity;                      // of the largest device: a job is all on one,
  int32_t max_num_seqs = 0;             // and what that runs at once
  bool tenants_share_prefixes = false;  // of prompts in the KV cache; false: each its own
  std::string system_fingerprint;       // names the weights and the arithmetic; empty: null
};

class ModelEndpoint {
 public:
  ModelEndpoint(std::shared_ptr<const ModelCard> card, EndpointOptions options);

  // For the doors: reads and tokenises the job's body and writes its exact figures into spec.
  // Errors: invalid, with param; a body that can never run here (cost over capacity, n over the
  // sequences) is invalid too and names both numbers.
  Status admit(JobSpec& spec) const;

  // ModelPort's two functions.
  Result<PreparedJob> prepare(const Job& job) const;
  std::string render(const EndedRun& run) const;
  // How a live job's answer is shown while it comes. Errors: those of prepare(), and invalid where
  // its endpoint does not stream. Reads the body,
  // and may render its template: a blocking or a quick thread.
  static Result<AnswerStreamPlan> plan_stream(const std::shared_ptr<const ModelEndpoint>& model,
                                              const Job& job);

  const EndpointOptions& options() const { return options_; }
  // How the model writes reasoning and calls, as is found from its template and vocabulary.
  const AnswerForm& answer_form() const { return answer_form_; }
  const Tokenizer& tokenizer() const;

 private:
  struct Read;  // a body with its prompt as tokens
  // By the endpoint's path. `created_at`: the job's, which a template may tell as the date.
  Result<Read> read(const std::string& path, std::string_view body,
                    std::chrono::sys_seconds created_at) const;
  // Errors without a param are of the prompt, as are those of the next two.
  Result<Read> read_chat(const EndpointPath& endpoint, std::string_view body,
                         std::chrono::sys_seconds created_at) const;
  Result<Read> read_completions(std::string_view body) const;
  Result<std::vector<TokenId>> tokens_of(CompletionPrompt prompt, const std::string& field) const;
  Result<int32_t> new_tokens_of(const GenerationPrompt& prompt,
                                const RequestOptions& request) const;
  Status check(const RequestOptions& request) const;
  bool drops_first_space(const ChatRequest& request) const;
  Result<std::vector<PromptSegment>> render_chat(const ChatRequest& request,
                                                 std::chrono::sys_seconds created_at) const;
  // The body of an endpoint whose prompt is a conversation.
  Result<ChatRequest> parse_chat(Endpoint endpoint, std::string_view body) const;
  // How the answer to such a one is to be read, into `view`.
  Status read_view(const Job& job, ChoiceView& view) const;
  // Whether the chat's prompt ends inside of what is to be reasoned.
  Result<bool> opens_reasoning_of(const ChatRequest& request, WallTime created_at) const;
  ResponseEcho echo_of(const Job& job) const;
  PrefixRoot prefix_root(const JobSpec& spec) const;

  std::shared_ptr<const ModelCard> card_;
  EndpointOptions options_;
  AnswerForm answer_form_;                      // of a base model: none
  const HashKey salt_key_ = random_hash_key();  // a KV cache lives no longer than its endpoint
};

}  // namespace parkd
