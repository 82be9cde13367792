// Code points of UTF-8 texts as Python's str sees them: counting, blanks, case.
// Pure functions, any thread. Every `text` is valid UTF-8.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace parkd::jinja {

// The code point at `at`, which becomes the place of the next. Requires: at < size.
char32_t next_code_point(std::string_view text, size_t& at);
// Where the code point before `at` begins. Requires: at > 0.
size_t previous_code_point(std::string_view text, size_t at);
void append_utf8(std::string& out, char32_t code_point);
bool is_code_point(uint32_t value);  // no surrogate, at most U+10FFFF

// text.find(word, from), in linear time whatever the two are.
size_t find_bytes(std::string_view text, std::string_view word, size_t from);

size_t count_code_points(std::string_view text);
// Where the code point of number `index` begins; size where there are fewer.
size_t place_of(std::string_view text, size_t index);

// str.isspace.
bool is_blank(char32_t code_point);
// Without blanks at the end.
size_t end_without_blanks(std::string_view text);
size_t begin_without_blanks(std::string_view text);

// str.upper and str.lower of one code point, which may become up to three.
void append_upper(std::string& out, char32_t code_point);
void append_lower(std::string& out, char32_t code_point);
bool is_cased(char32_t code_point);

}  // namespace parkd::jinja
