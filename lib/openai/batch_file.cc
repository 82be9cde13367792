#include "lib/openai/batch_file.h"

#include <algorithm>
#include <boost/json.hpp>
#include <utility>

#include "lib/base/json_reader.h"
#include "lib/base/json_writer.h"
#include "lib/base/raw_json.h"
#include "lib/job/bounds.h"

namespace parkd {
namespace {

namespace json = boost::json;

constexpr size_t kFirstEntries = 1024;
constexpr std::string_view kMembers[] = {"custom_id", "method", "url", "body"};
constexpr std::string_view kLineForm =
    R"(; a line is {"custom_id": ..., "method": "POST", "url": ..., "body": {...}})";

BatchFault fault_of(std::string_view code, std::string_view param, std::string message) {
  return {.code = std::string(code), .message = std::move(message), .param = std::string(param)};
}

BatchFault invalid_value(std::string_view param, const std::string& what) {
  return fault_of("invalid_value", param, std::string(param) + " " + what);
}

BatchFault missing(std::string_view param) {
  return fault_of("missing_required_parameter", param,
                  std::string(param) + " is missing" + std::string(kLineForm));
}

std::string quoted(std::string_view text) {
  return json_string(shown_name(text));
}

// nullptr: it is left out.
const json::value* member_of(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  return value == nullptr || value->is_null() ? nullptr : value;
}

// The member of that name, which a person calls `param`, into `out`; or what is wrong with it.
std::optional<BatchFault> read_text(const json::object& object, std::string_view name,
                                    std::string_view param, std::string_view& out) {
  const json::value* value = member_of(object, name);
  if (value == nullptr) return missing(param);
  if (!value->is_string()) {
    const std::string shown = shown_json(*value);
    return invalid_value(param, "is " + shown + "; it must be a string" +
                                    (value->is_number() ? ", \"" + shown + "\"" : ""));
  }
  const json::string& text = value->get_string();
  out = {text.data(), text.size()};
  if (out.empty()) return invalid_value(param, "is empty");
  if (out.size() > kTextBytesMax) {
    return invalid_value(param, "has " + std::to_string(out.size()) + " bytes; the limit is " +
                                    std::to_string(kTextBytesMax));
  }
  return std::nullopt;
}

std::optional<BatchFault> check_method(const json::object& members) {
  std::string_view method;
  if (auto fault = read_text(members, "method", "method", method)) return fault;
  if (method == "POST") return std::nullopt;
  return invalid_value("method", "is " + quoted(method) + "; it must be \"POST\"");
}

std::optional<BatchFault> check_names(const json::object& members) {
  for (const auto& member : members) {
    const std::string_view name(member.key().data(), member.key().size());
    if (std::find(std::begin(kMembers), std::end(kMembers), name) != std::end(kMembers)) continue;
    return fault_of("unknown_parameter", shown_name(name),
                    quoted(name) + " is not a member of a line" + std::string(kLineForm));
  }
  return std::nullopt;
}

BatchFault no_request(const json::value& value) {
  return fault_of("invalid_json_line", "",
                  value.is_array()
                      ? "the line is a JSON array; one line is one object (jq -c '.[]')"
                      : "the line is " + shown_json(value) + std::string(kLineForm));
}

}  // namespace

// --- SeenIds

SeenIds::SeenIds() : keys_{random_hash_key(), random_hash_key()}, entries_(kFirstEntries) {}

// The entry that has the hash, or the free one where it belongs.
SeenIds::Entry& SeenIds::place_of(const std::array<uint64_t, 2>& hash) {
  const size_t mask = entries_.size() - 1;
  size_t at = hash[0] & mask;
  while (entries_[at].line != 0 && entries_[at].hash != hash) at = (at + 1) & mask;
  return entries_[at];
}

int64_t SeenIds::insert(std::string_view id, int64_t line) {
  if (4 * n_taken_ >= 3 * entries_.size()) {  // so 3/8 to 3/4 of them are taken
    std::vector<Entry> before(2 * entries_.size());
    before.swap(entries_);
    for (const Entry& entry : before) {
      if (entry.line != 0) place_of(entry.hash) = entry;
    }
  }
  const std::array<uint64_t, 2> hash = {keyed_hash(keys_[0], id), keyed_hash(keys_[1], id)};
  Entry& entry = place_of(hash);
  if (entry.line != 0) return entry.line;
  entry = {hash, line};
  ++n_taken_;
  return 0;
}

// --- BatchFileCheck

BatchFileCheck::BatchFileCheck(BatchFileRules rules)
    : rules_(std::move(rules)), lines_(rules_.line_bytes_max(), 0) {}

Status BatchFileCheck::feed(std::string_view piece) {
  if (is_done_) return {};
  lines_.feed(piece);
  return check_lines();
}

Result<BatchFileFindings> BatchFileCheck::finish() {
  if (!is_done_) {
    lines_.end();
    PARKD_RETURN_IF_ERROR(check_lines());
  }
  if (findings_.n_lines == 0) {
    add(fault_of("empty_file", "", "the file has no request" + std::string(kLineForm)), 0);
  }
  return std::move(findings_);
}

Status BatchFileCheck::check_lines() {
  while (!is_done_) {
    const std::optional<CutLine> line = lines_.next();
    if (!line) break;
    PARKD_RETURN_IF_ERROR(check_line(*line));
  }
  return {};
}

Status BatchFileCheck::check_line(const CutLine& line) {
  if (++findings_.n_lines > rules_.lines_max) {
    add(fault_of("too_many_tasks", "",
                 "this is request " + std::to_string(findings_.n_lines) +
                     " of the file; the limit of a batch is " + std::to_string(rules_.lines_max)),
        line.number);
    is_done_ = true;
    return {};
  }
  if (line.too_long) {
    add(fault_of("line_too_long", "",
                 "the line has " + std::to_string(line.end - line.offset) +
                     " bytes; the limit is " + std::to_string(rules_.line_bytes_max()) + ", " +
                     std::to_string(rules_.body_bytes_max) + " of them for its body"),
        line.number);
    return {};
  }
  JsonMemory memory(line.text.size(), rules_.grow);
  const auto value = read_json(line.text, "the line", kSubmitDepthMax, memory);
  if (!value.ok() && value.status().code() != StatusCode::invalid) return value.status();
  Fault fault;
  if (!value.ok()) {
    fault = fault_of("invalid_json_line", value.status().param(), value.status().message());
  } else if (!value->is_object()) {
    fault = no_request(*value);
  } else {
    fault = check_members(value->get_object(), without_mark(line.text), line.number);
  }
  if (fault) add(std::move(*fault), line.number);
  return {};
}

BatchFileCheck::Fault BatchFileCheck::check_members(const json::object& members,
                                                    std::string_view text, int64_t number) {
  Fault fault = check_custom_id(members, number);
  if (!fault) fault = check_method(members);
  if (!fault) fault = check_url(members);
  if (!fault) fault = check_body(members, text);
  if (!fault) fault = check_model(members, number);
  if (!fault) fault = check_names(members);
  return fault;
}

BatchFileCheck::Fault BatchFileCheck::check_custom_id(const json::object& members, int64_t number) {
  std::string_view id;
  if (auto fault = read_text(members, "custom_id", "custom_id", id)) return fault;
  const int64_t before = ids_.insert(id, number);
  if (before == 0) return std::nullopt;
  return fault_of("duplicate_custom_id", "custom_id",
                  "custom_id " + quoted(id) + " stands in line " + std::to_string(before) +
                      " already; each line's must be its own");
}

BatchFileCheck::Fault BatchFileCheck::check_url(const json::object& members) const {
  std::string_view url;
  if (auto fault = read_text(members, "url", "url", url)) return fault;
  if (url == rules_.endpoint) return std::nullopt;
  return fault_of(
      "url_mismatch", "url",
      "url is " + quoted(url) + "; the batch's endpoint is " + json_string(rules_.endpoint));
}

BatchFileCheck::Fault BatchFileCheck::check_body(const json::object& members,
                                                 std::string_view text) const {
  const json::value* body = member_of(members, "body");
  if (body == nullptr) return missing("body");
  if (!body->is_object()) {
    return invalid_value("body", "is " + shown_json(*body) +
                                     "; it must be an OpenAI request body (a JSON object" +
                                     (body->is_string() ? ", not a text that holds one)" : ")"));
  }
  const size_t n_bytes = raw_member(text, "body").size();
  if (n_bytes <= rules_.body_bytes_max) return std::nullopt;
  return fault_of("line_too_long", "body",
                  "body has " + std::to_string(n_bytes) + " bytes; the limit is " +
                      std::to_string(rules_.body_bytes_max));
}

// Requires: check_body found nothing.
BatchFileCheck::Fault BatchFileCheck::check_model(const json::object& members, int64_t number) {
  std::string_view model;
  if (auto fault = read_text(members.at("body").get_object(), "model", "body.model", model)) {
    return fault;
  }
  if (model_line_ == 0) {
    model_line_ = number;
    findings_.model = std::string(model);
  }
  if (model == findings_.model) return std::nullopt;
  return fault_of("model_mismatch", "body.model",
                  "body.model is " + quoted(model) + ", and line " + std::to_string(model_line_) +
                      " has " + quoted(findings_.model) + "; all lines must be for one model");
}

void BatchFileCheck::add(BatchFault fault, int64_t number) {
  fault.line = number;
  if (findings_.faults.size() + 1 == kBatchFaultsMax) {
    fault.message +=
        " (the check went no further: " + std::to_string(kBatchFaultsMax) + " faults were found)";
    is_done_ = true;
  }
  findings_.faults.push_back(std::move(fault));
}

// --- the second reading

Result<LineRequest> read_line_request(std::string_view text, const JsonMemory::Grow& grow) {
  JsonMemory memory(text.size(), grow);
  const auto value = read_json(text, "the line", kSubmitDepthMax, memory);
  if (!value.ok() && value.status().code() != StatusCode::invalid) return value.status();
  const json::object* line = value.ok() ? value->if_object() : nullptr;
  const json::value* id = line == nullptr ? nullptr : line->if_contains("custom_id");
  const json::value* body = line == nullptr ? nullptr : line->if_contains("body");
  const json::object* members = body == nullptr ? nullptr : body->if_object();
  const json::value* model = members == nullptr ? nullptr : members->if_contains("model");
  if (id == nullptr || !id->is_string() || model == nullptr || !model->is_string()) {
    return corrupt("the line is no longer the request that was checked" +
                   (value.ok() ? "" : ": " + value.status().message()));
  }
  return LineRequest{.custom_id = std::string(id->get_string()),
                     .model = std::string(model->get_string()),
                     .body = std::string(raw_member(without_mark(text), "body"))};
}

std::string with_max_tokens(std::string_view body, std::string_view field, int32_t max_tokens) {
  constexpr std::string_view kNewName = "max_completion_tokens";
  RawObject members(body);
  const std::string number = std::to_string(max_tokens);
  const bool has_new_name = members.contains(kNewName);
  if (has_new_name) members.set(kNewName, number);
  if (!has_new_name || members.contains(field)) members.set(field, number);
  return members.text();
}

}  // namespace parkd
