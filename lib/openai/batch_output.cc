#include "lib/openai/batch_output.h"

#include <algorithm>
#include <boost/json.hpp>
#include <string_view>

#include "lib/base/json_reader.h"
#include "lib/base/json_writer.h"
#include "lib/base/raw_json.h"
#include "lib/job/bounds.h"
#include "lib/openai/wire.h"

namespace parkd {
namespace {

namespace json = boost::json;

void write_response(JsonWriter& json, const Message& message, std::string_view body) {
  json.begin_object("response").member("status_code", message.ending.status_code);
  json.member("request_id", request_id_of(message.job_id));
  json.member("body", RawJson{body}).end_object().member("error", nullptr);
}

std::string error_code_of(const Ending& ending) {
  if (ending.outcome == Outcome::cancelled) return "batch_cancelled";
  if (ending.outcome == Outcome::deadline_missed) return "batch_expired";
  return ending.error_code.empty() ? std::string(to_string(ending.outcome)) : ending.error_code;
}

// How a character is written that ends a line for some readers. In JSON the first two stand between
// tokens alone, where they mean nothing, and the others in strings alone, where they may be
// escaped.
struct LineBreak {
  std::string_view bytes;
  std::string_view written;
};
constexpr LineBreak kLineBreaks[] = {{"\n", ""},
                                     {"\r", ""},
                                     {"\xC2\x85", "\\u0085"},
                                     {"\xE2\x80\xA8", "\\u2028"},
                                     {"\xE2\x80\xA9", "\\u2029"}};

std::string on_one_line(std::string json) {
  constexpr std::string_view kFirstBytes = "\n\r\xC2\xE2";
  size_t at = json.find_first_of(kFirstBytes);
  if (at == json.npos) return json;
  std::string line = json.substr(0, at);
  for (std::string_view rest = std::string_view(json).substr(at); !rest.empty();) {
    const auto found =
        std::find_if(std::begin(kLineBreaks), std::end(kLineBreaks),
                     [rest](const LineBreak& one) { return rest.starts_with(one.bytes); });
    if (found != std::end(kLineBreaks)) {
      line += found->written;
      rest.remove_prefix(found->bytes.size());
      continue;
    }
    at = rest.find_first_of(kFirstBytes, 1);
    line += rest.substr(0, at);
    rest.remove_prefix(std::min(at, rest.size()));
  }
  return line;
}

// nullptr: `value` is not an object, or has no such member.
const json::value* member_of(const json::value* value, std::string_view name) {
  const json::object* members = value == nullptr ? nullptr : value->if_object();
  return members == nullptr ? nullptr : members->if_contains(name);
}

int64_t count_of(const json::value* value) {
  return value == nullptr ? 0 : std::max<int64_t>(whole_number(*value).value_or(0), 0);
}

}  // namespace

bool is_output_line(const Message& message) {
  return message.ending.outcome == Outcome::completed;
}

std::string render_batch_line(const Message& message) {
  const Ending& ending = message.ending;
  JsonWriter json;
  json.begin_object().member("id", "batch_req_" + std::to_string(message.job_id));
  json.member("custom_id", message.custom_id);
  if (is_output_line(message)) {
    write_response(json, message, ending.body);
  } else if (is_refusal(ending)) {
    write_response(json, message, render_refusal(ending));
  } else {
    json.member("response", nullptr).begin_object("error");
    json.member("code", error_code_of(ending)).member("message", ending.error_message);
    json.end_object();
  }
  return on_one_line(json.end_object().take()) + "\n";
}

BatchUsage usage_of(const Message& message) {
  if (!is_output_line(message)) return {};
  const std::string_view text = raw_member(message.ending.body, "usage");
  JsonMemory memory(text.size());
  const auto usage = read_json(text, "usage", kChatJsonDepthMax, memory);
  if (!usage.ok()) return {};
  const auto count = [&usage](const std::string& name) {
    return count_of(member_of(&*usage, name));
  };
  const auto detail = [&usage](const std::string& of, std::string_view name) {
    return count_of(member_of(member_of(&*usage, of + "_details"), name));
  };
  const bool is_response = member_of(&*usage, "input_tokens") != nullptr;
  const std::string input = is_response ? "input_tokens" : "prompt_tokens";
  const std::string output = is_response ? "output_tokens" : "completion_tokens";
  return {.input = count(input),
          .cached = detail(input, "cached_tokens"),
          .output = count(output),
          .reasoning = detail(output, "reasoning_tokens")};
}

}  // namespace parkd
