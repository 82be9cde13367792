// Tokenizers of the kinds that Mistral's repositories have, with small vocabularies of our own: in
// both the control tokens come first, then the 256 bytes, then a few characters and words.
#pragma once

#include <cstdint>
#include <string>

namespace parkd::testing {

struct MistralTokenizer {
  int32_t n_control = 0;  // <unk>, <s>, </s>, [INST] ... at the vocabulary's start
  int32_t vocab = 0;
  std::string tekken_json;      // of the tekken kind
  std::string tokenizer_model;  // of the SentencePiece kind, and
  std::string tokenizer_json;   // the same vocabulary
};

// tekken.json of version v13: 1,000 control tokens, some of them with a name, and more words than
// its vocabulary takes.
MistralTokenizer tekken_tokenizer();

// SentencePiece, version v3: 771 control tokens.
MistralTokenizer sentencepiece_tokenizer();

}  // namespace parkd::testing
