#include "lib/base/raw_json.h"

#include <algorithm>
#include <boost/json.hpp>

#include "lib/base/json_writer.h"

namespace parkd {
namespace {

size_t skip_space(std::string_view text, size_t at) {
  while (at < text.size() && std::string_view(" \t\r\n").find(text[at]) != std::string_view::npos) {
    ++at;
  }
  return at;
}

// The end of the string that begins at `at`.
size_t skip_string(std::string_view text, size_t at) {
  for (++at; at < text.size() && text[at] != '"'; ++at) {
    if (text[at] == '\\') ++at;
  }
  return at + 1;
}

// The end of the value that begins at `at`.
size_t skip_value(std::string_view text, size_t at) {
  int depth = 0;
  while (at < text.size()) {
    const char c = text[at];
    if (c == '"') {
      at = skip_string(text, at);
      if (depth == 0) return at;
      continue;
    }
    if (c == '}' || c == ']') {
      if (depth == 0) return at;  // the end of what the number or word stands in
      --depth;
    }
    if (c == '{' || c == '[') ++depth;
    if (depth == 0 && std::string_view(", \t\r\n").find(c) != std::string_view::npos) return at;
    ++at;
    if (depth == 0 && (c == '}' || c == ']')) return at;
  }
  return at;
}

// The name that is written so, with its quotes.
std::string unescaped(std::string_view written) {
  const std::string_view inside = written.substr(1, written.size() - 2);
  if (inside.find('\\') == std::string_view::npos) return std::string(inside);
  boost::json::error_code error;
  const boost::json::value name = boost::json::parse({written.data(), written.size()}, error);
  return error || !name.is_string() ? std::string(inside) : std::string(name.get_string());
}

// Calls f(key as it is written, value) for each member until it answers false.
template <class F>
void for_each_member(std::string_view object, F f) {
  size_t at = skip_space(object, skip_space(object, 0) + 1);
  while (at < object.size() && object[at] == '"') {
    const size_t key_end = skip_string(object, at);
    const size_t begin =  // past the colon
        std::min(skip_space(object, skip_space(object, key_end) + 1), object.size());
    const size_t end = skip_value(object, begin);
    if (!f(object.substr(at, key_end - at), object.substr(begin, end - begin))) return;
    at = skip_space(object, skip_space(object, end) + 1);  // past the comma
  }
}

}  // namespace

std::string_view raw_member(std::string_view object, std::string_view key) {
  std::string_view found = "null";
  for_each_member(object, [&](std::string_view written, std::string_view value) {
    const std::string_view inside = written.substr(1, written.size() - 2);
    const bool is_it =
        inside.find('\\') == std::string_view::npos ? inside == key : unescaped(written) == key;
    if (is_it) found = value;
    return !is_it;
  });
  return found;
}

RawElements::RawElements(std::string_view array) : array_(array), at_(skip_space(array, 0)) {
  const bool is_array = at_ < array.size() && array[at_] == '[';
  at_ = is_array ? skip_space(array, at_ + 1) : array.size();
}

std::optional<std::string_view> RawElements::next() {
  if (at_ >= array_.size() || array_[at_] == ']') return std::nullopt;
  const size_t begin = at_;
  const size_t end = raw_value_end(array_, begin);
  at_ = skip_space(array_, skip_space(array_, end) + 1);  // past the comma
  return array_.substr(begin, end - begin);
}

std::vector<std::string_view> raw_elements(std::string_view array) {
  std::vector<std::string_view> elements;
  RawElements walk(array);
  while (const auto element = walk.next()) elements.push_back(*element);
  return elements;
}

size_t raw_value_end(std::string_view text, size_t at) {
  return std::min(std::max(skip_value(text, at), at + 1), text.size());
}

RawObject::RawObject(std::string_view object) : original_(object), is_changed_(false) {
  for_each_member(original_, [this](std::string_view written, std::string_view value) {
    members_.push_back({unescaped(written), std::string(written), std::string(value)});
    return true;
  });
}

const RawObject::Member* RawObject::find(std::string_view key) const {
  const auto found = std::find_if(members_.begin(), members_.end(),
                                  [key](const Member& member) { return member.key == key; });
  return found == members_.end() ? nullptr : &*found;
}

bool RawObject::contains(std::string_view key) const {
  return find(key) != nullptr;
}

std::string_view RawObject::get(std::string_view key) const {
  const Member* member = find(key);
  return member == nullptr ? std::string_view("null") : std::string_view(member->json);
}

void RawObject::set(std::string_view key, std::string_view json) {
  is_changed_ = true;
  if (const Member* member = find(key)) {
    members_[static_cast<size_t>(member - members_.data())].json = json;
    return;
  }
  members_.push_back({std::string(key), json_string(key), std::string(json)});
}

void RawObject::set_text(std::string_view key, std::string_view text) {
  set(key, json_string(text));
}

void RawObject::erase(std::string_view key) {
  const auto is_it = [key](const Member& member) { return member.key == key; };
  const auto kept = std::remove_if(members_.begin(), members_.end(), is_it);
  if (kept == members_.end()) return;
  members_.erase(kept, members_.end());
  is_changed_ = true;
}

std::string RawObject::text() const {
  if (!is_changed_) return original_;
  std::string out = "{";
  for (const Member& member : members_) {
    if (out.size() > 1) out += ',';
    out += member.written;
    out += ':';
    out += member.json;
  }
  return out + "}";
}

}  // namespace parkd
