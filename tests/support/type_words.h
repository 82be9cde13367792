// The types of tensors by the words that command lines take: "q4_1".
#pragma once

#include <cctype>
#include <map>
#include <string>

#include "lib/weights/formats.h"

namespace parkd::testing {

inline std::map<std::string, TensorType> types_by_word() {
  std::map<std::string, TensorType> types;
  for (const TensorFormat& format : kTensorFormats) {
    std::string word;
    for (const char c : format.name) word += static_cast<char>(std::tolower(c));
    types[word] = format.type;
  }
  return types;
}

}  // namespace parkd::testing
