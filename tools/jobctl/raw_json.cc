#include "tools/jobctl/raw_json.h"

namespace parkd::jobctl {
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

}  // namespace

std::string_view raw_member(std::string_view object, std::string_view key) {
  size_t at = skip_space(object, skip_space(object, 0) + 1);
  while (at < object.size() && object[at] == '"') {
    const size_t key_end = skip_string(object, at);
    const std::string_view found = object.substr(at + 1, key_end - at - 2);
    const size_t begin = skip_space(object, skip_space(object, key_end) + 1);  // past the colon
    const size_t end = skip_value(object, begin);
    if (found == key) return object.substr(begin, end - begin);
    at = skip_space(object, skip_space(object, end) + 1);  // past the comma
  }
  return "null";
}

std::vector<std::string_view> raw_elements(std::string_view array) {
  std::vector<std::string_view> elements;
  size_t at = skip_space(array, 0);
  if (at == array.size() || array[at] != '[') return elements;
  at = skip_space(array, at + 1);
  while (at < array.size() && array[at] != ']') {
    const size_t end = skip_value(array, at);
    elements.push_back(array.substr(at, end - at));
    at = skip_space(array, skip_space(array, end) + 1);
  }
  return elements;
}

}  // namespace parkd::jobctl
