// The endpoints a job may be for, and the path of each: as a job's `endpoint`, an OpenAI batch
// line's `url`, and a row's column. The first is what a job is for that names none. PostgreSQL has
// endpoints_v1 (migrations/0013); Endpoints.sql_knows_the_same_paths. Pure, any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace parkd {

enum class Endpoint : uint8_t { chat, completions };

struct EndpointPath {
  Endpoint endpoint = Endpoint::chat;
  std::string_view path;
  std::string_view prompt_field;  // of its bodies: what a prompt that is too long is in
};

inline constexpr EndpointPath kEndpoints[] = {
    {Endpoint::chat, "/v1/chat/completions", "messages"},
    {Endpoint::completions, "/v1/completions", "prompt"},
};

std::string path_of(Endpoint endpoint);

// nullptr: there is none of that path.
const EndpointPath* find_endpoint(std::string_view path);

// Why a job for that path is refused, with the paths there are.
std::string unsupported_endpoint(std::string_view path);

}  // namespace parkd
