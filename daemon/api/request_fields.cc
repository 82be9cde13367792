#include "daemon/api/request_fields.h"

#include <boost/json.hpp>
#include <string_view>
#include <utility>

#include "lib/base/json_reader.h"
#include "lib/base/raw_json.h"
#include "lib/base/rfc3339.h"
#include "lib/job/bounds.h"
#include "lib/openai/body_values.h"

namespace parkd {

namespace json = boost::json;

namespace {

constexpr size_t kDepthMax = 32;  // of a request's JSON

}  // namespace

Result<RequestFields> RequestFields::read(ReceivedBody& body) {
  auto source = std::make_unique<Source>(body.take());
  const std::string_view text = source->text.empty() ? "{}" : std::string_view(source->text);
  PARKD_ASSIGN_OR_RETURN(json::value parsed,
                         read_json(text, "the request", kDepthMax, source->memory));
  if (!parsed.is_object()) return invalid("the request must be a JSON object");
  return RequestFields(std::move(source), std::move(parsed.get_object()));
}

std::optional<std::string> RequestFields::optional_text(const char* key) {
  const json::value* value = take(key);
  if (value == nullptr) return std::nullopt;
  if (value->is_string()) return std::string(value->get_string());
  fail(key, "must be a string");
  return std::nullopt;
}

std::optional<int64_t> RequestFields::number(const char* key, int64_t min, int64_t max) {
  const json::value* value = take(key);
  if (value == nullptr) return std::nullopt;
  const auto number = whole_number(*value);
  if (number && *number >= min && *number <= max) return number;
  fail(key, "must be a whole number from " + std::to_string(min) + " to " + std::to_string(max));
  return std::nullopt;
}

std::optional<WallTime> RequestFields::instant(const char* key) {
  const std::optional<std::string> given = optional_text(key);
  if (!given) return std::nullopt;
  const auto time = parse_rfc3339(*given);
  if (!time) fail(key, not_a_time(*given));
  return time;
}

std::string RequestFields::object(const char* key) {
  const json::value* value = take(key);
  if (value == nullptr) return {};
  if (value->is_object()) return std::string(raw_member(without_mark(source_->text), key));
  fail(key, "must be an object");
  return {};
}

std::string RequestFields::pairs(const char* key) {
  const json::value* value = take(key);
  if (value == nullptr) return {};
  if (const std::string why = why_no_pairs(*value); !why.empty()) {
    fail(key, why);
    return {};
  }
  return std::string(raw_member(without_mark(source_->text), key));
}

std::optional<std::chrono::seconds> RequestFields::file_life(const char* key) {
  const json::value* value = take(key);
  if (value == nullptr) return std::nullopt;
  const json::object* given = value->if_object();
  const json::value* anchor = given == nullptr ? nullptr : given->if_contains("anchor");
  const json::value* seconds = given == nullptr ? nullptr : given->if_contains("seconds");
  const int64_t count = seconds == nullptr ? 0 : whole_number(*seconds).value_or(0);
  if (anchor != nullptr && *anchor == "created_at" && given->size() == 2 &&
      count >= kFileLifeMin.count() && count <= kFileLifeMax.count()) {
    return std::chrono::seconds(count);
  }
  fail(key,
       "must be {\"anchor\": \"created_at\", \"seconds\": " + std::to_string(kFileLifeMin.count()) +
           " to " + std::to_string(kFileLifeMax.count()) + "}");
  return std::nullopt;
}

std::vector<std::string> RequestFields::texts(const char* key) {
  std::vector<std::string> texts;
  const json::value* value = take(key);
  if (value == nullptr) return texts;
  if (value->is_string()) return {std::string(value->get_string())};
  const json::array* list = value->if_array();
  if (list == nullptr || list->empty()) {
    fail(key, "must be a string or a list of strings");
    return texts;
  }
  for (const json::value& text : *list) {
    if (text.is_string()) {
      texts.emplace_back(text.get_string());
    } else {
      fail(key, "must hold strings");
    }
  }
  return texts;
}

std::vector<JobId> RequestFields::ids(const char* key, size_t ids_max) {
  std::vector<JobId> ids;
  const json::value* value = take(key);
  if (value == nullptr) return ids;
  const json::array* list = value->if_array();
  if (list == nullptr || list->empty() || list->size() > ids_max) {
    fail(key, "must be a list of 1 to " + std::to_string(ids_max) + " job ids");
    return ids;
  }
  for (const json::value& id : *list) {
    const auto number = whole_number(id);
    if (number && *number >= 0) {
      ids.push_back(static_cast<JobId>(*number));
    } else {
      fail(key, "must hold job ids: whole numbers");
    }
  }
  return ids;
}

Status RequestFields::finish() const {
  if (!failure_.ok()) return failure_;
  for (const auto& field : left_) {
    const std::string name = shown_name({field.key().data(), field.key().size()});
    return invalid_param(name, "unknown field " + name);
  }
  return {};
}

const json::value* RequestFields::take(const char* key) {
  const auto found = left_.find(key);
  if (found == left_.end()) return nullptr;
  taken_.push_back(std::make_unique<json::value>(std::move(found->value())));
  left_.erase(found);
  return taken_.back()->is_null() ? nullptr : taken_.back().get();
}

void RequestFields::fail(const char* key, const std::string& what) {
  if (failure_.ok()) failure_ = invalid_param(key, std::string(key) + " " + what);
}

}  // namespace parkd
