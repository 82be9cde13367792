// BatchFault: what is wrong with a line of a batch's file, in OpenAI's words (a batch's
// errors.data). Plain value, any thread.
#pragma once

#include <cstdint>
#include <string>

namespace parkd {

struct BatchFault {
  std::string code;  // invalid_json_line, duplicate_custom_id ...
  std::string message;
  std::string param;  // the field at fault; empty: none
  int64_t line = 0;   // from 1; 0: of the file as a whole
  friend bool operator==(const BatchFault&, const BatchFault&) = default;
};

}  // namespace parkd
