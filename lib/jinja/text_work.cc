#include "lib/jinja/text_work.h"

#include <algorithm>

#include "lib/jinja/python_text.h"
#include "lib/jinja/unicode.h"

namespace parkd::jinja {
namespace {

bool is_among(const Text& characters, char32_t wanted) {
  for (size_t at = 0; at < characters.size();) {
    if (next_code_point(characters.bytes(), at) == wanted) return true;
  }
  return false;
}

// Appends each code point of [first, last) through `change`, which appends to its first argument.
template <class Change>
void append_changed(const Text& text, size_t first, size_t last, Text& out, Change change) {
  std::string changed;
  OriginCursor origins(text);
  for (size_t at = first; at < last;) {
    const Origin origin = origins.at(at);
    const size_t begin = at;
    const char32_t c = next_code_point(text.bytes(), at);
    changed.clear();
    change(changed, c, begin);
    out.append(changed, origin);
  }
}

// A capital sigma at the end of a word is written ς, where the word has a letter before it from
// `begin` on.
bool is_final_sigma(const Text& text, size_t begin, size_t at) {
  size_t next = at;
  next_code_point(text.bytes(), next);
  if (next < text.size()) {
    size_t after = next;
    if (is_cased(next_code_point(text.bytes(), after))) return false;
  }
  if (at <= begin) return false;
  size_t before = previous_code_point(text.bytes(), at);
  return is_cased(next_code_point(text.bytes(), before));
}

void append_lower_at(const Text& text, size_t begin, std::string& out, char32_t c, size_t at) {
  if (c == 0x03a3 && is_final_sigma(text, begin, at)) {
    out += "\xcf\x82";
  } else {
    append_lower(out, c);
  }
}

}  // namespace

Text stripped(const Text& text, Sides sides, const Text* characters) {
  const std::string& bytes = text.bytes();
  const auto goes = [&](size_t at) {
    const char32_t c = next_code_point(bytes, at);
    return characters == nullptr ? is_blank(c) : is_among(*characters, c);
  };
  size_t first = 0;
  size_t last = text.size();
  if (sides != Sides::right) {
    while (first < last && goes(first)) next_code_point(bytes, first);
  }
  if (sides != Sides::left) {
    while (last > first) {
      const size_t before = previous_code_point(bytes, last);
      if (!goes(before)) break;
      last = before;
    }
  }
  return text.slice(first, last);
}

Text replaced(Runtime& runtime, const Text& text, const Text& from, const Text& to, int64_t n_max) {
  runtime.budget.look_at(text.size());
  Text out;
  out.set_markup(text.is_markup());
  size_t done = 0;
  int64_t n = 0;
  if (from.empty()) {  // before each code point and at the end
    for (size_t at = 0; n_max < 0 || n < n_max; ++n) {
      runtime.budget.make(to.footprint() + 1);
      out.append(to);
      done = at;
      if (at >= text.size()) break;
      next_code_point(text.bytes(), at);
      out.append(text, done, at);
      done = at;
    }
    out.append(text, done, text.size());
    return out;
  }
  for (; n_max < 0 || n < n_max; ++n) {
    const size_t found = find_bytes(text.bytes(), from.bytes(), done);
    if (found == std::string::npos) break;
    runtime.budget.make(to.footprint() + found - done);
    out.append(text, done, found);
    out.append(to);
    done = found + from.size();
  }
  out.append(text, done, text.size());
  return out;
}

Text with_upper(Runtime& runtime, const Text& text) {
  runtime.budget.look_at(text.size() * 8);
  Text out;
  append_changed(text, 0, text.size(), out,
                 [](std::string& to, char32_t c, size_t) { append_upper(to, c); });
  out.set_markup(text.is_markup());
  return out;
}

Text with_lower(Runtime& runtime, const Text& text) {
  runtime.budget.look_at(text.size() * 8);
  Text out;
  append_changed(text, 0, text.size(), out, [&](std::string& to, char32_t c, size_t at) {
    append_lower_at(text, 0, to, c, at);
  });
  out.set_markup(text.is_markup());
  return out;
}

Text capitalized(Runtime& runtime, const Text& text) {
  runtime.budget.look_at(text.size() * 8);
  Text out;
  append_changed(text, 0, text.size(), out, [&](std::string& to, char32_t c, size_t at) {
    if (at == 0) {
      append_upper(to, c);
    } else {
      append_lower_at(text, 0, to, c, at);
    }
  });
  return out;
}

Text titled(Runtime& runtime, const Text& text, bool as_method) {
  static constexpr std::string_view kBorders = "-({[<";
  runtime.budget.look_at(text.size() * 8);
  Text out;
  bool is_start = true;
  size_t begin = 0;
  append_changed(text, 0, text.size(), out, [&](std::string& to, char32_t c, size_t at) {
    const bool is_border =
        as_method
            ? !is_cased(c)
            : is_blank(c) || (c < 0x80 && kBorders.find(static_cast<char>(c)) != kBorders.npos);
    if (is_border) {
      append_utf8(to, c);
    } else if (is_start) {
      append_upper(to, c);
      next_code_point(text.bytes(), at);
      begin = as_method ? 0 : at;  // the filter lowers a word's rest by itself
    } else {
      append_lower_at(text, begin, to, c, at);
    }
    is_start = is_border;
  });
  return out;
}

std::vector<Text> lines_of(Runtime& runtime, const Text& text, bool keep_ends) {
  runtime.budget.look_at(text.size() * 8);
  std::vector<Text> lines;
  size_t begin = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = at;
    const char32_t c = next_code_point(text.bytes(), at);
    const bool breaks = (c >= 0x0a && c <= 0x0d) || (c >= 0x1c && c <= 0x1e) || c == 0x85 ||
                        c == 0x2028 || c == 0x2029;
    if (!breaks) continue;
    if (c == '\r' && at < text.size() && text.bytes()[at] == '\n') ++at;
    lines.push_back(text.slice(begin, keep_ends ? at : end));
    runtime.charge_items(1);
    begin = at;
  }
  if (begin < text.size()) lines.push_back(text.slice(begin, text.size()));
  return lines;
}

Text joined(Runtime& runtime, const Text& separator, const std::vector<Value>& items) {
  Text out;
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) out.append(separator);
    const Text item = str_of(runtime, items[i]);
    runtime.budget.make(separator.footprint() + item.footprint());
    out.append(item);
  }
  return out;
}

}  // namespace parkd::jinja
