// JsonWriter: the one way in which parkd writes JSON.
//
// Members and elements go into one string in the order in which they are given; commas, quotes and
// escapes come by themselves, and no member costs an allocation of its own. JSON that was read from
// elsewhere is passed on as it stands (RawJson). Text that is not UTF-8 is repaired
// (append_json_string, text.h). Values, any thread.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace parkd {

// A whole JSON text, passed on byte for byte; empty: null.
struct RawJson {
  std::string_view text;
};

// An empty text is null.
struct TextOrNull {
  std::string_view text;
};

// A number of thousandths, written with three decimals by integers: 12345 is 12.345. Below 0: 0.
struct Thousandths {
  int64_t count = 0;
};

// A figure for people: six significant digits (%.6g); null where it is not finite.
struct SixDigits {
  double value = 0;
};

class JsonWriter {
 public:
  JsonWriter() = default;
  // Writes behind what stands in `begun`, which is not JSON.
  explicit JsonWriter(std::string begun) : out_(std::move(begun)), first_(out_.size()) {}

  // An object or array: as the whole text or an element, or under a key.
  JsonWriter& begin_object();
  JsonWriter& begin_object(std::string_view key);
  JsonWriter& end_object();
  JsonWriter& begin_array();
  JsonWriter& begin_array(std::string_view key);
  JsonWriter& end_array();

  template <class T>
  JsonWriter& member(std::string_view name, const T& value) {
    key(name);
    write(value);
    return *this;
  }
  template <class T>
  JsonWriter& element(const T& value) {
    separate();
    write(value);
    return *this;
  }

  // The text. Requires: what was begun is ended.
  std::string take();

 private:
  void separate();
  void key(std::string_view name);
  void end(char bracket);

  void write(bool value) { out_ += value ? "true" : "false"; }
  void write(std::nullptr_t) { out_ += "null"; }
  void write(std::string_view text);
  void write(const std::string& text) { write(std::string_view(text)); }
  void write(const char* text) { write(std::string_view(text)); }
  void write(float value);  // the shortest digits that read back as it; null where it is not finite
  void write(SixDigits figure);
  void write(Thousandths number);
  void write(RawJson json) { out_ += json.text.empty() ? std::string_view("null") : json.text; }
  void write(TextOrNull text) { text.text.empty() ? write(nullptr) : write(text.text); }
  template <std::signed_integral T>
  void write(T number) {
    write_signed(number);
  }
  template <std::unsigned_integral T>
  void write(T number) {
    write_unsigned(number);
  }
  // Neither a character nor what a pointer becomes by itself is meant as a number.
  void write(char) = delete;
  void write(const void*) = delete;
  void write_signed(int64_t number);
  void write_unsigned(uint64_t number);

  std::string out_;
  size_t first_ = 0;  // where the JSON begins
  int depth_ = 0;
};

// `text` as one JSON string, which YAML reads as well (YAML 1.2, 1.3), and so may people.
std::string json_string(std::string_view text);

}  // namespace parkd
