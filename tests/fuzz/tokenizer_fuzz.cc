// Text becomes tokens and the tokens that text again, whole, in pieces and token by token; no text
// of a user ever becomes a special token; bytes that are not UTF-8 are refused.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/text.h"
#include "lib/model/model_card.h"
#include "tests/support/tiny_model.h"

namespace {

void check(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using parkd::PromptSegment;
  static const auto card = parkd::testing::tiny_model_card();
  const parkd::Tokenizer& tokenizer = *card->tokenizer;
  const std::string text(reinterpret_cast<const char*>(data), size);

  const auto ids = tokenizer.encode(text, parkd::SpecialTokens::as_text);
  check(ids.ok() == parkd::is_valid_utf8(text));
  if (!ids.ok()) return 0;
  check(tokenizer.decode(*ids) == text);
  for (const parkd::TokenId id : *ids) check(!tokenizer.is_special(id));

  // Cut in two at any character, as two segments: the same ids.
  const size_t middle = parkd::valid_utf8_prefix(std::string_view(text).substr(0, size / 2));
  const std::vector<PromptSegment> halves = {{PromptSegment::Kind::content, text.substr(0, middle)},
                                             {PromptSegment::Kind::content, text.substr(middle)}};
  check(tokenizer.encode_prompt(halves).value() == *ids);

  // As a template's own text it may hold special tokens; the rest of it is still there.
  const auto parsed = tokenizer.encode(text, parkd::SpecialTokens::parsed).value();
  std::string shown;
  for (const parkd::TokenId id : parsed) {
    shown += tokenizer.is_special(id) ? tokenizer.token_text(id)
                                      : std::string(tokenizer.token_bytes(id));
  }
  check(shown == text);
  return 0;
}
