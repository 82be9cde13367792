// Tokens of a Jinja template, read as transformers sets Jinja up: trim_blocks and lstrip_blocks on,
// one line break at the end left out, \r\n and \r read as \n. Pure function, any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lib/jinja/budget.h"

namespace parkd::jinja {

struct Token {
  enum class Kind : uint8_t {
    data,            // the template's own text
    variable_begin,  // {{
    variable_end,
    block_begin,  // {%
    block_end,
    name,
    string,  // `text` is its value
    integer,
    real,
    mark,  // an operator or bracket
    end,
  };
  Kind kind = Kind::end;
  std::string text;
  int line = 1;
  int64_t integer = 0;
  double real = 0;
};

// Ends with one of kind end. Throws Fault.
std::vector<Token> read_tokens(std::string_view source, const Limits& limits);

}  // namespace parkd::jinja
