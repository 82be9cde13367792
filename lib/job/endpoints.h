// The endpoints a job may be for, and the path of each: as a job's `endpoint`, an OpenAI batch
// line's `url`, and a row's column. The first is what a job is for that names none. PostgreSQL has
// endpoints_v1 (migrations/0003); Endpoints.sql_knows_the_same_paths. Pure, any thread.
#pragma once

#include <string>
#include <string_view>

namespace parkd {

struct EndpointPath {
  std::string_view name;
  std::string_view path;
};

inline constexpr EndpointPath kEndpoints[] = {
    {"chat", "/v1/chat/completions"},
};

inline constexpr std::string_view kChatPath = kEndpoints[0].path;

// nullptr: there is none of that path.
const EndpointPath* find_endpoint(std::string_view path);

// Why a job for that path is refused, with the paths there are.
std::string unsupported_endpoint(std::string_view path);

}  // namespace parkd
