// The endpoints a job may be for, and the path of each: as a job's `endpoint`, an OpenAI batch
// line's `url`, and a row's column. The first is what a job is for that names none. PostgreSQL has
// endpoints_v1 (migrations/0019); Endpoints.sql_knows_the_same_paths. Pure, any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace parkd {

enum class Endpoint : uint8_t { chat, completions, responses };

struct EndpointPath {
  Endpoint endpoint = Endpoint::chat;
  std::string_view path;
  // Of its bodies: what a prompt that is too long is in, and the limit on generated tokens.
  std::string_view prompt_field;
  std::string_view max_tokens_field = "max_tokens";
  bool streams = true;  // an answer can be had as it is written
};

inline constexpr EndpointPath kEndpoints[] = {
    {Endpoint::chat, "/v1/chat/completions", "messages"},
    {Endpoint::completions, "/v1/completions", "prompt"},
    {Endpoint::responses, "/v1/responses", "input", "max_output_tokens", false},
};

std::string path_of(Endpoint endpoint);

// nullptr: there is none of that path.
const EndpointPath* find_endpoint(std::string_view path);

// Why a job for that path is refused, with the paths there are.
std::string unsupported_endpoint(std::string_view path);

// Why there is no stream of an answer for that path, with the paths that have one.
std::string unstreamed_endpoint(std::string_view path);

}  // namespace parkd
