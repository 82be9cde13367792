// PromptSegment: a piece of a rendered prompt. A value.
#pragma once

#include <span>
#include <string>

namespace parkd {

struct PromptSegment {
  enum class Kind {
    literal,  // the template's own text: special tokens in it count
    content,  // what came with a request: only letters
  };
  Kind kind = Kind::literal;
  std::string text;

  friend bool operator==(const PromptSegment&, const PromptSegment&) = default;
};

// The whole text of a rendered prompt.
std::string text_of(std::span<const PromptSegment> prompt);

}  // namespace parkd
