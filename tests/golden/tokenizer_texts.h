// The texts that tokenizers are compared on: tools/golden/tokenizer_texts.py makes the same ones.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/sampling.h"

namespace parkd::testing {

// tests/golden/tokenizers/goldens.json, as written by tools/golden/tokenizer_goldens.py.
struct GoldenTokenizers {
  struct Kind {
    std::string name;                       // of its folder
    std::vector<uint64_t> hashes;           // of the ids of each block of texts
    std::vector<std::vector<TokenId>> ids;  // of `picked`
    uint64_t decoded = 0;                   // hash of their texts, decoded, with U+0000 between
  };
  // What the texts are made of.
  std::vector<std::string> words, code, emoji, spaces, odd;
  std::vector<std::pair<uint32_t, uint32_t>> scripts;
  std::vector<uint32_t> marks;
  std::string punctuation;

  uint64_t seed = 0;
  size_t n_texts = 0;
  size_t block = 0;
  std::vector<std::string> picked;
  std::vector<Kind> kinds;

  std::string text(uint64_t index) const;
};

std::string golden_tokenizers_folder();
GoldenTokenizers load_golden_tokenizers();

}  // namespace parkd::testing
