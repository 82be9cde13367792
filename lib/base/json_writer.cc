#include "lib/base/json_writer.h"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <utility>

#include "lib/base/check.h"
#include "lib/base/text.h"

namespace parkd {
namespace {

template <class T>
void append_chars(std::string& out, T number) {
  std::array<char, 32> digits{};
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), number);
  out.append(digits.data(), end.ptr);
}

}  // namespace

// A value never ends in one of these, so the text itself says whether one stands before.
void JsonWriter::separate() {
  if (out_.size() == first_) return;
  const char last = out_.back();
  if (last != '{' && last != '[' && last != ':') out_ += ',';
}

void JsonWriter::key(std::string_view name) {
  separate();
  append_json_string(out_, name);
  out_ += ':';
}

JsonWriter& JsonWriter::begin_object() {
  separate();
  out_ += '{';
  ++depth_;
  return *this;
}

JsonWriter& JsonWriter::begin_object(std::string_view name) {
  key(name);
  return begin_object();
}

JsonWriter& JsonWriter::end_object() {
  end('}');
  return *this;
}

JsonWriter& JsonWriter::begin_array() {
  separate();
  out_ += '[';
  ++depth_;
  return *this;
}

JsonWriter& JsonWriter::begin_array(std::string_view name) {
  key(name);
  return begin_array();
}

JsonWriter& JsonWriter::end_array() {
  end(']');
  return *this;
}

void JsonWriter::end(char bracket) {
  PARKD_CHECK(depth_ > 0, "an object or array ends that was not begun");
  out_ += bracket;
  --depth_;
}

std::string JsonWriter::take() {
  PARKD_CHECK(depth_ == 0, "an object or array was not ended");
  return std::exchange(out_, std::string());
}

void JsonWriter::write(std::string_view text) {
  append_json_string(out_, text);
}

void JsonWriter::write(float value) {
  if (!std::isfinite(value)) return write(nullptr);
  append_chars(out_, value);
}

void JsonWriter::write(SixDigits figure) {
  if (!std::isfinite(figure.value)) return write(nullptr);
  std::array<char, 32> digits{};
  std::snprintf(digits.data(), digits.size(), "%.6g", figure.value);
  out_ += digits.data();
}

void JsonWriter::write(Thousandths number) {
  const int64_t count = number.count < 0 ? 0 : number.count;
  append_chars(out_, count / 1000);
  const auto digit = [&](int64_t weight) { return static_cast<char>('0' + count / weight % 10); };
  out_ += {'.', digit(100), digit(10), digit(1)};
}

void JsonWriter::write_signed(int64_t number) {
  append_chars(out_, number);
}

void JsonWriter::write_unsigned(uint64_t number) {
  append_chars(out_, number);
}

std::string json_string(std::string_view text) {
  std::string out;
  append_json_string(out, text);
  return out;
}

}  // namespace parkd
