#include "lib/openai/stream_request.h"

#include <boost/json.hpp>

#include "lib/base/json_memory.h"
#include "lib/base/json_reader.h"
#include "lib/base/raw_json.h"
#include "lib/job/bounds.h"

namespace parkd {
namespace {

namespace json = boost::json;

Result<bool> read_flag(const json::object& object, std::string_view name, std::string_view param) {
  const json::value* value = object.if_contains(name);
  if (value == nullptr || value->is_null()) return false;
  if (value->is_bool()) return value->get_bool();
  return invalid_param(std::string(param), std::string(param) + " is " + shown_json(*value) +
                                               "; it must be true or false");
}

Result<StreamRequest> read_request(const json::object& body) {
  StreamRequest request;
  PARKD_ASSIGN_OR_RETURN(request.stream, read_flag(body, "stream", "stream"));
  const json::value* options = body.if_contains("stream_options");
  if (options == nullptr || options->is_null()) return request;
  if (!options->is_object()) {
    return invalid_param("stream_options", "stream_options is " + shown_json(*options) +
                                               "; it must be {\"include_usage\": true}");
  }
  for (const auto& member : options->get_object()) {
    // Padding against who listens to the lengths of an encrypted stream.
    if (member.key() == "include_usage" || member.key() == "include_obfuscation") continue;
    const std::string param = "stream_options." + shown_name(member.key());
    return invalid_param(param, param + " is not known; there is include_usage");
  }
  if (!request.stream) {
    return invalid_param("stream_options",
                         "stream_options is given without stream: give \"stream\": true, or leave "
                         "it out");
  }
  PARKD_ASSIGN_OR_RETURN(request.include_usage, read_flag(options->get_object(), "include_usage",
                                                          "stream_options.include_usage"));
  return request;
}

}  // namespace

Result<StreamRequest> take_stream_request(std::string& body,
                                          const std::function<Status(size_t)>& grow) {
  if (body.find("\"stream") == body.npos) return StreamRequest();
  PARKD_RETURN_IF_ERROR(grow(2 * body.size()));  // RawObject's copies
  JsonMemory memory(body.size(), grow);
  auto value = read_json(body, "the body", kChatJsonDepthMax, memory);
  if (!value.ok()) {
    if (value.status().code() == StatusCode::unavailable) return value.status();
    return StreamRequest();
  }
  if (!value->is_object()) return StreamRequest();
  PARKD_ASSIGN_OR_RETURN(const StreamRequest request, read_request(value->get_object()));
  RawObject members(body);
  members.erase("stream");
  members.erase("stream_options");
  body = members.text();
  return request;
}

}  // namespace parkd
