// Normalizer: what a vocabulary asks to be done to text before it is split: nothing for most, NFC
// for Qwen's, replacements for some. utf8proc is behind normalizer.cc and nowhere else.
// Immutable once made; any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "lib/base/status.h"

namespace parkd {

class Normalizer {
 public:
  // Steps apply in the order in which they were added.
  void add_nfc() { steps_.push_back({}); }
  // Requires: `from` is not empty.
  void add_replace(std::string from, std::string to) {
    steps_.push_back({false, std::move(from), std::move(to)});
  }

  bool changes_nothing() const { return steps_.empty(); }
  // Requires valid UTF-8. Errors: exhausted when there is no memory.
  Result<std::string> apply(std::string text) const;

 private:
  struct Step {
    bool nfc = true;
    std::string from;
    std::string to;
  };
  std::vector<Step> steps_;
};

}  // namespace parkd
