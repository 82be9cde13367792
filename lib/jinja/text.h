// Text: a string whose bytes know where they come from.
//
// What a template's author wrote is `literal`, what came with a request is `content`; every
// operation of the interpreter keeps the border, so that a renderer's caller can tell a control
// token that the template means from the letters of a user. Valid UTF-8 where what it is made of
// is. A value, one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace parkd::jinja {

enum class Origin : uint8_t { literal, content };

// Content where one of the two is.
inline Origin both(Origin a, Origin b) {
  return a == Origin::content ? a : b;
}

class Text {
 public:
  // Bytes of one origin, up to `end` of the text.
  struct Run {
    size_t end = 0;
    Origin origin = Origin::literal;
    friend bool operator==(const Run&, const Run&) = default;
  };

  Text() = default;
  Text(std::string bytes, Origin origin);

  const std::string& bytes() const { return bytes_; }
  size_t size() const { return bytes_.size(); }
  bool empty() const { return bytes_.empty(); }
  // The memory that a copy takes, in bytes.
  size_t footprint() const { return bytes_.size() + runs_.size() * sizeof(Run); }
  // Neighbours differ; the last ends at size(). None of an empty text.
  const std::vector<Run>& runs() const { return runs_; }
  // Content where a byte of it is.
  Origin origin() const;

  void append(std::string_view bytes, Origin origin);
  void append(const Text& other) { append(other, 0, other.size()); }
  // The bytes [first, last) of `other`, which is another text.
  void append(const Text& other, size_t first, size_t last);
  // The bytes [first, last).
  Text slice(size_t first, size_t last) const;

  // In Jinja's words "safe": what is joined to it by + is escaped for HTML.
  bool is_markup() const { return is_markup_; }
  void set_markup(bool is_markup) { is_markup_ = is_markup; }

 private:
  std::string bytes_;
  std::vector<Run> runs_;
  bool is_markup_ = false;
};

// Walks over the runs of a text in order of its bytes.
class OriginCursor {
 public:
  explicit OriginCursor(const Text& text) : text_(text) {}
  // Of the byte `at`, which is not before the last one asked for. Requires: at < size.
  Origin at(size_t at) {
    while (text_.runs()[run_].end <= at) ++run_;
    return text_.runs()[run_].origin;
  }

 private:
  const Text& text_;
  size_t run_ = 0;
};

}  // namespace parkd::jinja
