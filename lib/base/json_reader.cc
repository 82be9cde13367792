#include "lib/base/json_reader.h"

#include <algorithm>
#include <boost/json.hpp>
#include <boost/json/basic_parser_impl.hpp>
#include <cmath>
#include <cstring>
#include <limits>
#include <new>
#include <set>
#include <vector>

#include "lib/base/json_fault.h"

namespace parkd {
namespace {

namespace json = boost::json;
using Error = boost::system::error_code;

constexpr size_t kShownBytes = 60;
constexpr std::string_view kUtf8Mark = "\xEF\xBB\xBF";
constexpr double kWholeDoubleMax = 9007199254740992.0;  // 2^53

// What Boost.JSON's parser asks of a handler, and no limits of its own.
struct AnySize {
  // NOLINTBEGIN(readability-identifier-naming): Boost's names
  static constexpr size_t max_object_size = std::numeric_limits<size_t>::max();
  static constexpr size_t max_array_size = max_object_size;
  static constexpr size_t max_key_size = max_object_size;
  static constexpr size_t max_string_size = max_object_size;
  // NOLINTEND(readability-identifier-naming)
};

// Builds a json::value like Boost's own parser, refuses U+0000 and numbers past the largest double,
// and counts the members: of those given twice an object keeps the last.
class BuildingHandler : public AnySize {
 public:
  json::value_stack values;
  size_t n_members = 0;
  const char* why = nullptr;  // a refusal of our own
  bool takes_nul = false;

  // Nothing it allocates comes from elsewhere than `memory`.
  explicit BuildingHandler(JsonMemory* memory) : values(json::storage_ptr(memory)) {
    values.reset(json::storage_ptr(memory));
  }
  bool on_document_begin(Error&) { return true; }
  bool on_document_end(Error&) { return true; }
  bool on_object_begin(Error&) { return true; }
  bool on_object_end(size_t n, Error&) {
    n_members += n;
    values.push_object(n);
    return true;
  }
  bool on_array_begin(Error&) { return true; }
  bool on_array_end(size_t n, Error&) {
    values.push_array(n);
    return true;
  }
  bool on_key_part(json::string_view text, size_t, Error& error) {
    values.push_chars(text);
    return is_text(text, error);
  }
  bool on_key(json::string_view text, size_t, Error& error) {
    values.push_key(text);
    return is_text(text, error);
  }
  bool on_string_part(json::string_view text, size_t, Error& error) {
    values.push_chars(text);
    return is_text(text, error);
  }
  bool on_string(json::string_view text, size_t, Error& error) {
    values.push_string(text);
    return is_text(text, error);
  }
  bool on_number_part(json::string_view, Error&) { return true; }
  bool on_int64(int64_t number, json::string_view, Error&) {
    values.push_int64(number);
    return true;
  }
  bool on_uint64(uint64_t number, json::string_view, Error&) {
    values.push_uint64(number);
    return true;
  }
  bool on_double(double number, json::string_view, Error& error) {
    values.push_double(number);
    return std::isfinite(number) || refuse(kTooLarge, error);
  }
  bool on_bool(bool truth, Error&) {
    values.push_bool(truth);
    return true;
  }
  bool on_null(Error&) {
    values.push_null();
    return true;
  }
  bool on_comment_part(json::string_view, Error&) { return true; }
  bool on_comment(json::string_view, Error&) { return true; }

  static constexpr const char* kNul = "\\u0000 in a string, which is not text; remove it";
  static constexpr const char* kTooLarge = "a number too large for a double";

 private:
  bool refuse(const char* cause, Error& error) {
    why = cause;
    error = json::error::syntax;
    return false;
  }
  bool is_text(json::string_view text, Error& error) {
    return takes_nul || text.empty() || std::memchr(text.data(), 0, text.size()) == nullptr ||
           refuse(kNul, error);
  }
};

// Stops at the first member that its object has already. Only for a text that has one: the names
// of all open objects are remembered.
class TwiceHandler : public AnySize {
 public:
  std::string name;

  explicit TwiceHandler(JsonMemory* memory) : allocator_(memory) {}
  bool on_document_begin(Error&) { return true; }
  bool on_document_end(Error&) { return true; }
  bool on_object_begin(Error&) {
    open_.emplace_back(allocator_);
    return true;
  }
  bool on_object_end(size_t, Error&) {
    open_.pop_back();
    return true;
  }
  bool on_array_begin(Error&) { return true; }
  bool on_array_end(size_t, Error&) { return true; }
  bool on_key_part(json::string_view text, size_t, Error&) {
    name.append(text.data(), text.size());
    return true;
  }
  bool on_key(json::string_view text, size_t, Error& error) {
    name.append(text.data(), text.size());
    if (!open_.back().emplace(name.data(), name.size()).second) {
      error = json::error::syntax;
      return false;
    }
    name.clear();
    return true;
  }
  bool on_string_part(json::string_view, size_t, Error&) { return true; }
  bool on_string(json::string_view, size_t, Error&) { return true; }
  bool on_number_part(json::string_view, Error&) { return true; }
  bool on_int64(int64_t, json::string_view, Error&) { return true; }
  bool on_uint64(uint64_t, json::string_view, Error&) { return true; }
  bool on_double(double, json::string_view, Error&) { return true; }
  bool on_bool(bool, Error&) { return true; }
  bool on_null(Error&) { return true; }
  bool on_comment_part(json::string_view, Error&) { return true; }
  bool on_comment(json::string_view, Error&) { return true; }

 private:
  using Name = std::basic_string<char, std::char_traits<char>, json::polymorphic_allocator<char>>;
  using Names = std::set<Name, std::less<>, json::polymorphic_allocator<Name>>;

  const json::polymorphic_allocator<Name> allocator_;
  std::vector<Names> open_;
};

size_t members_of(const json::value& value) {
  size_t n = 0;
  if (const json::object* object = value.if_object()) {
    n = object->size();
    for (const auto& member : *object) n += members_of(member.value());
  } else if (const json::array* array = value.if_array()) {
    for (const json::value& element : *array) n += members_of(element);
  }
  return n;
}

// Where the string begins whose closing quote, or what is behind it, stands at `end`.
size_t string_begin(std::string_view text, size_t end) {
  for (size_t at = std::min(end, text.size()); at-- > 0;) {
    if (text[at] != '"') continue;
    size_t slashes = 0;
    while (slashes < at && text[at - 1 - slashes] == '\\') ++slashes;
    if (slashes % 2 == 0) return at;
  }
  return end;
}

json::parse_options options_of(size_t depth_max) {
  json::parse_options options;
  options.max_depth = depth_max;
  return options;
}

Status given_twice(std::string_view text, const std::string& subject, size_t depth_max,
                   JsonMemory& memory) {
  json::basic_parser<TwiceHandler> parser(options_of(depth_max), &memory);
  Error error;
  const size_t used = parser.write_some(false, text.data(), text.size(), error);
  const std::string name = shown_name(parser.handler().name);
  return invalid_param(name, subject + "cannot be taken, " +
                                 place_in(text, string_begin(text, used)) + ": \"" + name +
                                 "\" is given twice in one object; give it once");
}

}  // namespace

std::string_view without_mark(std::string_view text) {
  return text.substr(text.substr(0, kUtf8Mark.size()) == kUtf8Mark ? kUtf8Mark.size() : 0);
}

Result<json::value> read_json(std::string_view text, std::string_view what, size_t depth_max,
                              JsonMemory& memory, JsonNul nul) {
  text = without_mark(text);
  const std::string subject = std::string(what) + (what.empty() ? "" : " ");
  try {
    json::basic_parser<BuildingHandler> parser(options_of(depth_max), &memory);
    parser.handler().takes_nul = nul == JsonNul::taken;
    Error error;
    const size_t used = parser.write_some(false, text.data(), text.size(), error);
    BuildingHandler& handler = parser.handler();
    if (handler.why == BuildingHandler::kNul) {
      const size_t at = text.rfind("\\u0000", used);
      return invalid(subject + "cannot be taken, " + place_in(text, at) + ": " + handler.why);
    }
    if (handler.why != nullptr || error == json::error::exponent_overflow) {
      return invalid(subject + "cannot be taken, " + place_in(text, used) + ": " +
                     BuildingHandler::kTooLarge);
    }
    if (error == json::error::too_deep) {
      return invalid(subject + "is nested deeper than " + std::to_string(depth_max) + " levels");
    }
    if (error || used < text.size()) {
      return invalid(subject + "is not JSON, " + fault_at(text, used));
    }
    json::value value = handler.values.release();
    if (members_of(value) != handler.n_members) {
      value = nullptr;
      return given_twice(text, subject, depth_max, memory);
    }
    return value;
  } catch (const std::bad_alloc&) {
    if (!memory.refusal().ok()) return memory.refusal();
    return unavailable("parkd has no memory left to read the request");
  } catch (const std::exception& e) {  // length_error
    return invalid(subject + "could not be read: " + e.what());
  }
}

std::optional<int64_t> whole_number(const json::value& value) {
  if (value.is_int64()) return value.get_int64();
  if (!value.is_double()) return std::nullopt;
  const double number = value.get_double();
  if (number != std::floor(number) || std::abs(number) > kWholeDoubleMax) return std::nullopt;
  return static_cast<int64_t>(number);
}

std::string shown_name(std::string_view name) {
  if (name.size() <= kShownBytes) return std::string(name);
  size_t end = kShownBytes;  // before the code point that would straddle the limit
  while (end > 0 && (static_cast<unsigned char>(name[end]) & 0xc0) == 0x80) --end;
  return std::string(name.substr(0, end));
}

std::string shown_json(const json::value& value) {
  char buffer[2 * kShownBytes];
  json::serializer serializer;
  serializer.reset(&value);
  const json::string_view start = serializer.read(buffer, sizeof buffer);
  std::string shown = shown_name({start.data(), start.size()});
  if (shown.size() < start.size()) shown += "...";
  return shown;
}

}  // namespace parkd
