#include "lib/base/json_value_text.h"

#include <algorithm>
#include <boost/json.hpp>
#include <boost/json/basic_parser_impl.hpp>
#include <charconv>
#include <cstdint>
#include <limits>
#include <utility>

#include "lib/base/json_writer.h"
#include "lib/base/text.h"

namespace parkd {

namespace json = boost::json;
using Error = boost::system::error_code;

namespace {

constexpr size_t kDepthMax = 1000;  // the doors take less
// PostgreSQL's numeric.
constexpr int64_t kPlacesBeforeMax = 131'072;
constexpr int64_t kPlacesBehindMax = 16'383;

}  // namespace

std::optional<std::string> decimal_value(std::string_view number) {
  const bool is_negative = !number.empty() && number.front() == '-';
  if (is_negative) number.remove_prefix(1);
  const size_t e = number.find_first_of("eE");
  const std::string_view mantissa = number.substr(0, e);
  int64_t exponent = 0;
  if (e != std::string_view::npos) {
    std::string_view written = number.substr(e + 1);
    if (!written.empty() && written.front() == '+') written.remove_prefix(1);
    const auto read = std::from_chars(written.data(), written.data() + written.size(), exponent);
    constexpr int64_t kExponentMax = 1'000'000'000;  // so that no sum below overflows
    if (read.ec != std::errc() || exponent > kExponentMax || exponent < -kExponentMax) {
      return std::nullopt;
    }
  }
  const size_t point = mantissa.find('.');
  std::string digits(mantissa.substr(0, point));
  if (point != std::string_view::npos) digits += mantissa.substr(point + 1);
  const auto n_behind =
      point == std::string_view::npos ? 0 : static_cast<int64_t>(mantissa.size() - point - 1);
  int64_t power = exponent - n_behind;
  if (-power > kPlacesBehindMax) return std::nullopt;
  const size_t first = digits.find_first_not_of('0');
  if (first == std::string::npos) return "0";
  digits.erase(0, first);
  if (static_cast<int64_t>(digits.size()) + power > kPlacesBeforeMax) return std::nullopt;
  const size_t last = digits.find_last_not_of('0');
  power += static_cast<int64_t>(digits.size() - 1 - last);
  digits.resize(last + 1);
  return (is_negative ? "-" : "") + digits + "e" + std::to_string(power);
}

std::string as_parsed_and_written(std::string_view text) {
  json::parse_options options;
  options.max_depth = kDepthMax;
  Error error;
  const json::value value =
      json::parse({text.data(), text.size()}, error, json::storage_ptr(), options);
  return error ? std::string(text) : json::serialize(value);
}

// Writes values one behind the other into one text; where an object ends, its members are sorted
// there. The members of the outermost object stay apart.
class JsonValueText::Handler {
 public:
  // NOLINTBEGIN(readability-identifier-naming): Boost's names
  static constexpr size_t max_object_size = std::numeric_limits<size_t>::max();
  static constexpr size_t max_array_size = max_object_size;
  static constexpr size_t max_key_size = max_object_size;
  static constexpr size_t max_string_size = max_object_size;
  // NOLINTEND(readability-identifier-naming)

  bool on_document_begin(Error&) { return true; }
  bool on_document_end(Error&) { return true; }
  bool on_object_begin(Error&) {
    begin_value();
    open_.push_back({true, out_.size(), places_.size(), false});
    return true;
  }
  bool on_object_end(size_t, Error&) {
    std::vector<Member> members = take_members();
    if (open_.empty()) {
      value_.is_object_ = true;
      value_.members_ = std::move(members);
    } else {
      out_ += text_of(members);
    }
    return true;
  }
  bool on_array_begin(Error&) {
    begin_value();
    open_.push_back({false, out_.size(), places_.size(), false});
    out_ += '[';
    return true;
  }
  bool on_array_end(size_t, Error&) {
    open_.pop_back();
    out_ += ']';
    return true;
  }
  bool on_key_part(json::string_view text, size_t, Error&) {
    part_.append(text.data(), text.size());
    return true;
  }
  bool on_key(json::string_view text, size_t, Error& error) {
    const size_t name_begin = out_.size();
    const bool is_text = write_text(text, error);
    places_.push_back({name_begin, out_.size()});
    return is_text;
  }
  bool on_string_part(json::string_view text, size_t, Error&) {
    part_.append(text.data(), text.size());
    return true;
  }
  bool on_string(json::string_view text, size_t, Error& error) {
    begin_value();
    return write_text(text, error);
  }
  bool on_number_part(json::string_view text, Error&) {
    part_.append(text.data(), text.size());
    return true;
  }
  bool on_int64(int64_t, json::string_view text, Error& error) { return on_number(text, error); }
  bool on_uint64(uint64_t, json::string_view text, Error& error) { return on_number(text, error); }
  bool on_double(double, json::string_view text, Error& error) { return on_number(text, error); }
  bool on_bool(bool truth, Error&) {
    begin_value();
    out_ += truth ? "true" : "false";
    return true;
  }
  bool on_null(Error&) {
    begin_value();
    out_ += "null";
    return true;
  }
  bool on_comment_part(json::string_view, Error&) { return true; }
  bool on_comment(json::string_view, Error&) { return true; }

  JsonValueText take() {
    value_.other_ = std::move(out_);
    return std::move(value_);
  }

  static std::string text_of(const std::vector<Member>& members) {
    std::string out = "{";
    for (const Member& member : members) {
      if (out.size() > 1) out += ',';
      out += member.name;
      out += ':';
      out += member.value;
    }
    return out + "}";
  }

 private:
  struct Open {
    bool is_object;
    size_t begin;        // in out_
    size_t first_place;  // in places_
    bool has_elements;   // of an array
  };
  struct Place {  // of a member: its value ends where the next name begins
    size_t name_begin;
    size_t value_begin;
  };

  void begin_value() {
    if (open_.empty() || open_.back().is_object) return;
    if (std::exchange(open_.back().has_elements, true)) out_ += ',';
  }
  // What has come of a string, and its last part.
  bool write_text(json::string_view last, Error& error) {
    std::string_view text(last.data(), last.size());
    if (!part_.empty()) text = part_.append(text);
    const bool is_text = text.find('\0') == std::string_view::npos;
    append_json_string(out_, text);
    part_.clear();
    if (!is_text) error = json::error::syntax;
    return is_text;
  }
  bool on_number(json::string_view text, Error& error) {
    part_.append(text.data(), text.size());
    const auto value = decimal_value(part_);
    part_.clear();
    if (!value) {
      error = json::error::exponent_overflow;
      return false;
    }
    begin_value();
    out_ += *value;
    return true;
  }

  // The members of the innermost object, which ends here; its text goes.
  std::vector<Member> take_members() {
    const Open object = open_.back();
    open_.pop_back();
    std::vector<Member> members;
    members.reserve(places_.size() - object.first_place);
    for (size_t i = object.first_place; i < places_.size(); ++i) {
      const auto [name_begin, value_begin] = places_[i];
      const size_t end = i + 1 < places_.size() ? places_[i + 1].name_begin : out_.size();
      members.push_back({out_.substr(name_begin, value_begin - name_begin),
                         out_.substr(value_begin, end - value_begin)});
    }
    places_.resize(object.first_place);
    out_.resize(object.begin);
    std::stable_sort(members.begin(), members.end(),
                     [](const Member& a, const Member& b) { return a.name < b.name; });
    // Of equal names the last is kept.
    const auto kept =
        std::unique(members.rbegin(), members.rend(),
                    [](const Member& a, const Member& b) { return a.name == b.name; });
    members.erase(members.begin(), kept.base());
    return members;
  }

  JsonValueText value_;
  std::string out_;
  std::vector<Open> open_;
  std::vector<Place> places_;  // of the members of all open objects
  std::string part_;           // of a string or a number, as far as it has come
};

std::optional<JsonValueText> JsonValueText::of(std::string_view text) {
  json::parse_options options;
  options.max_depth = kDepthMax;
  json::basic_parser<Handler> parser(options);
  Error error;
  const size_t used = parser.write_some(false, text.data(), text.size(), error);
  if (error || used < text.size()) return std::nullopt;
  return parser.handler().take();
}

bool JsonValueText::has(std::string_view member) const {
  const std::string name = json_string(member);
  return std::any_of(members_.begin(), members_.end(),
                     [&](const Member& each) { return each.name == name; });
}

void JsonValueText::drop(std::string_view member) {
  const std::string name = json_string(member);
  members_.erase(std::remove_if(members_.begin(), members_.end(),
                                [&](const Member& each) { return each.name == name; }),
                 members_.end());
}

std::string JsonValueText::text() const {
  return is_object_ ? Handler::text_of(members_) : other_;
}

}  // namespace parkd
