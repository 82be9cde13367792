// Whatever the bytes of a tekken.json are: a vocabulary or a refusal, and what is made of a
// vocabulary encodes and decodes.
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "lib/text/tokenizer.h"
#include "lib/text/vocabulary_readers.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  auto vocabulary = parkd::read_tekken_json("fuzz", {reinterpret_cast<const char*>(data), size});
  if (!vocabulary.ok()) return 0;
  const auto tokenizer = parkd::Tokenizer::make(std::move(vocabulary).value());
  if (!tokenizer.ok()) return 0;
  for (const std::string text : {"", " ab  a\u00e4\n<s>12", "\u2581a<tool>\u0301"}) {
    for (const auto kind : {parkd::SpecialTokens::as_text, parkd::SpecialTokens::parsed}) {
      const auto ids = (*tokenizer)->encode(text, kind);
      if (ids.ok()) (void)(*tokenizer)->decode(*ids);
    }
  }
  return 0;
}
