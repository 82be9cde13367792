// Tokenizer: text to token ids and back, by byte-level BPE (Sennrich et al. 2016; GPT-2), with the
// vocabulary, merges and splitting rule that a model file names.
//
// Immutable after load, so any thread may use it. Special tokens (<|im_end|> and the like) are
// found only where the caller says so, which is in a template's own text: a user who writes one
// gets its letters, never its meaning. It never changes text: no normalisation, no trimming. The
// one loss: a byte that the vocabulary has no token for is left out, as Hugging Face's tokenizers
// and llama.cpp leave it out (SmolLM2: ASCII control characters such as 0x04 and bytes that are
// rare or impossible in UTF-8).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "lib/base/sampling.h"
#include "lib/base/status.h"
#include "lib/text/byte_level_bpe.h"
#include "lib/text/pre_tokenizer.h"
#include "lib/text/prompt_segment.h"
#include "lib/weights/gguf.h"

namespace parkd {

// Whether "<|im_end|>" in a text is ten characters or one token.
enum class SpecialTokens { as_text, parsed };

inline constexpr size_t kTokenizerTextBytesMax = 64u << 20;

class Tokenizer {
 public:
  // Errors: invalid when the file's tokenizer is of a kind that is not supported yet, corrupt when
  // its vocabulary contradicts itself.
  static Result<std::shared_ptr<const Tokenizer>> load(const GgufFile& file);

  // The ids of `text`; nothing is put before or behind. Errors: invalid when it is not UTF-8 or too
  // long.
  Result<std::vector<TokenId>> encode(std::string_view text, SpecialTokens specials) const;

  // The ids of a rendered prompt: specials are parsed in its literals only, and text runs on over
  // the segments' borders, so that the ids are those of the whole text when the text has no special
  // token. A model that asks for a beginning-of-sequence token gets it, once. Errors: as encode.
  Result<std::vector<TokenId>> encode_prompt(std::span<const PromptSegment> prompt) const;

  // The tokens' text; special tokens are left out, what is not UTF-8 is repaired.
  std::string decode(std::span<const TokenId> tokens) const;

  // What a token adds to the text: empty for special tokens and for ids outside the vocabulary. A
  // special token of GGUF's type "user defined" (<tool_call> and the like) adds its name: Hugging
  // Face's tokenizers (added, special false) and llama.cpp show it.
  std::string_view token_bytes(TokenId token) const;
  // A token as logprobs show it: its text (UTF-8, repaired), or a special token's name.
  std::string token_text(TokenId token) const;
  bool is_special(TokenId token) const;
  // The special token of that name.
  std::optional<TokenId> find_special(std::string_view name) const;

  // Ids that end a generation: the file's eos, eot and eom, <|im_end|> and <|endoftext|>.
  // Ascending.
  std::span<const TokenId> end_tokens() const { return end_tokens_; }
  int32_t vocab_size() const { return static_cast<int32_t>(tokens_.size()); }
  std::optional<TokenId> bos_token() const { return bos_token_; }  // set when prompts start with it

  // How much merging a text takes, in candidates looked at: what bounds encode()'s time.
  Result<int64_t> count_merge_steps(std::string_view text) const;

 private:
  struct Token {
    std::string text;  // bytes of a normal token, the name of a special one
    bool special = false;
    bool is_text = false;  // its text is part of what the model writes
  };
  Tokenizer() = default;
  Status load_tokens(const GgufFile& file);
  Status load_merges(const GgufFile& file);
  Status load_special_ids(const GgufFile& file);
  // The special token that `text` starts with, the longest one; -1 for none.
  TokenId special_at(std::string_view text) const;
  Result<std::vector<TokenId>> encode_segments(std::span<const PromptSegment> segments) const;
  // Appends the tokens of text without special tokens. Requires valid UTF-8.
  Status encode_plain(std::string_view text, std::vector<TokenId>& ids) const;

  std::vector<Token> tokens_;
  std::unordered_map<std::string_view, TokenId> words_;       // normal tokens; keys lie in tokens_
  std::unordered_map<std::string_view, TokenId> specials_;    // names lie in tokens_
  std::vector<std::vector<TokenId>> specials_by_first_byte_;  // (256), the longest name first
  ByteLevelBpe bpe_;
  PreTokenizer pre_tokenizer_;
  std::vector<TokenId> end_tokens_;
  std::optional<TokenId> bos_token_;
};

}  // namespace parkd
