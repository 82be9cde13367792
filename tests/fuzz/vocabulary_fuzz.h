// What the fuzz targets of the tokenizers' files do with a vocabulary that was read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "lib/base/status.h"
#include "lib/text/tokenizer.h"
#include "lib/text/vocabulary.h"

namespace parkd::testing {

inline int try_vocabulary(Result<Vocabulary> vocabulary) {
  if (!vocabulary.ok()) return 0;
  const auto tokenizer = Tokenizer::make(std::move(vocabulary).value());
  if (!tokenizer.ok()) return 0;
  for (const std::string text : {"", " ab  a\u00e4\n<s>12", "\u2581a<tool>\u0301"}) {
    for (const SpecialTokens kind : {SpecialTokens::as_text, SpecialTokens::parsed}) {
      const auto ids = (*tokenizer)->encode(text, kind);
      if (ids.ok()) (void)(*tokenizer)->decode(*ids);
    }
  }
  return 0;
}

}  // namespace parkd::testing
