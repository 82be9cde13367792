// The pieces of an answer that comes as it is written: OpenAI's chat.completion.chunk objects and
// the text_completion objects of its legacy completions, each as the data of one server-sent event
// (WHATWG HTML, "Server-sent events").
//
// Pure functions, any thread. Every chunk is a function of what it says and its head alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "lib/job/endpoints.h"
#include "lib/job/job_id.h"
#include "lib/openai/completion_response.h"

namespace parkd {

// What all chunks of one answer say.
struct ChunkHead {
  Endpoint endpoint = Endpoint::chat;
  JobId job_id = 0;
  int64_t created_s = 0;
  std::string model;
  std::string system_fingerprint;  // empty: null
  bool include_usage = false;
};

// What one chunk adds to one choice. Views last as long as the call that renders it.
struct ChunkDelta {
  size_t choice = 0;
  bool is_first = false;  // of the choice: a chat's says the role
  std::string_view reasoning{};
  std::string_view content{};
  std::span<const LogprobJson> logprobs{};
  std::string_view tool_calls{};     // a JSON array, with an `index` in each; empty: none
  std::string_view finish_reason{};  // empty: the choice goes on
};

std::string render_chunk(const ChunkHead& head, const ChunkDelta& delta);
// The last one of a stream with include_usage: no choice, `usage` as it stands in the answer.
std::string render_usage_chunk(const ChunkHead& head, std::string_view usage);
// Whatever was sent of the answer before is void: it comes again from its beginning.
std::string render_restart_chunk(const ChunkHead& head);

// "id: ID\ndata: DATA\n\n"; without an id or a name (of an event of its own kind) where empty.
// `data` has no line breaks.
std::string render_event(std::string_view data, std::string_view id = {},
                         std::string_view name = {});
// Ends a stream that is whole.
inline constexpr std::string_view kStreamDone = "data: [DONE]\n\n";
// Says nothing, and keeps a connection from looking dead.
inline constexpr std::string_view kStreamComment = ": waiting\n\n";

}  // namespace parkd
