// The body a run ends in: OpenAI's chat.completion object, the text_completion object of its legacy
// completions, and its response object.
//
// Pure functions, any thread. Everything outside the "parkd" member, and usage's
// "prompt_tokens_details" ("input_tokens_details"), depends on the request, its seed and the model
// alone, byte for byte (DESIGN.md, I7); ids name the job, times and charges stand in "parkd".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/clock.h"
#include "lib/base/sampling.h"
#include "lib/job/job_id.h"

namespace parkd {

// One token as OpenAI shows it. `bytes` is what it adds to the text, which need not be UTF-8 alone;
// `token` is written from it, repaired. A token that adds nothing, a special one, is written by its
// name, and its bytes as null.
struct ShownToken {
  std::string bytes;
  float logprob = 0;  // natural; -inf is written as -9999, as OpenAI does
  std::string name = {};
};

struct ShownLogprob {
  ShownToken chosen;
  std::vector<ShownToken> top;  // best first
};

// The same as JSON, as it stands in the answer: of a chat the element of `logprobs.content`, of a
// completion its elements of the four lists there.
struct LogprobJson {
  std::string token;
  std::string logprob{};  // of completions, as are the next
  std::string top{};      // "null": none were asked for
  std::string offset{};
};
LogprobJson chat_logprob_json(const ShownLogprob& shown);
// `offset`: characters of the text so far; counted on.
LogprobJson text_logprob_json(const ShownLogprob& shown, int64_t& offset);

struct ShownCall {
  std::string id;
  std::string name;
  std::string arguments;  // the text of a JSON object
};

struct CompletionChoice {
  std::string content;                                // repaired where it is not UTF-8
  std::string finish_reason;                          // stop, length, tool_calls or cancelled
  std::optional<std::vector<ShownLogprob>> logprobs;  // empty: not asked for
  // Of chats. An empty content beside calls is null.
  std::optional<std::string> reasoning{};
  std::vector<ShownCall> tool_calls{};
  std::vector<std::string> invalid_tool_calls{};  // why a call in the content is none
  int32_t reasoning_tokens = 0;                   // of the choice's, with the marks around them
};

// What parkd adds: where the time went, and what was sampled by.
struct RunFigures {
  int64_t units = 0;          // blocks charged
  int64_t queue_us = 0;       // created (or run_at) to the start in the engine
  int64_t run_us = 0;         // in the engine
  int64_t prefill_us = 0;     // first step to first token
  int64_t decode_us = 0;      // first token to last
  int64_t shared_tokens = 0;  // of the choices' prompts: found in the KV cache, not computed
  int32_t attempts = 0;       // executions that failed before this one
  SamplingParams sampling{};  // that chose the tokens, whoever said so
};

// What OpenAI's answers but text completions name: there is one, whatever the request asked for.
inline constexpr std::string_view kServiceTier = "default";

struct CompletionResponse {
  JobId job_id = 0;
  WallTime created_at{};  // of the job, so that a second run writes the same
  std::string model;
  std::string system_fingerprint;  // empty: null
  std::vector<CompletionChoice> choices;
  int32_t prompt_tokens = 0;
  int64_t cached_tokens = 0;      // of them: found in the KV cache
  int32_t completion_tokens = 0;  // all that were generated, what ended the choices included
  std::optional<int32_t> reasoning_tokens{};  // of them; empty: the model has no form of reasoning
  RunFigures figures;
};

// {"id":"chatcmpl-<job id>","object":"chat.completion",...,"parkd":{...}}, one line.
std::string render_chat_completion(const CompletionResponse& response);

// {"id":"cmpl-<job id>","object":"text_completion",...}: the content is `text`, and logprobs are
// tokens, token_logprobs, top_logprobs and text_offset, which counts characters of the text. A
// token that is not UTF-8 alone is written as OpenAI does there: "bytes:\\xe2\\x80".
std::string render_text_completion(const CompletionResponse& response);

// What a response says again of its request.
struct ResponseEcho {
  std::string instructions{};  // JSON, as it stands in the body; empty: null
  std::optional<int32_t> max_output_tokens{};
  std::string metadata = "{}";  // JSON
  bool parallel_tool_calls = true;
  std::string tool_choice = "auto";
};

// {"id":"resp_<job id>","object":"response",...}: `output` has the message, and before it, where
// the model has reasoned, that. An answer that ended at its token limit is `incomplete`, of a run
// that was stopped `cancelled`. What of the prompt was not found in the KV cache was written there:
// cache_write_tokens. Of a run that was stopped before it began, there is no choice: an empty text.
std::string render_response(const CompletionResponse& response, const ResponseEcho& echo);

}  // namespace parkd
