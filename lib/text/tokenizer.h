// Tokenizer: text to token ids and back, by byte-pair encoding, with the vocabulary and the rules
// that a model file names (Vocabulary).
//
// Immutable once made, so any thread may use it. Special tokens (<|im_end|> and the like) are found
// only where the caller says so, which is in a template's own text: a user who writes one gets its
// letters, never its meaning. Text is changed only as the vocabulary asks (NFC, a space put before
// it). The one loss: what the vocabulary has no token for is left out where it has no unknown token
// either, as Hugging Face's tokenizers and llama.cpp leave it out (SmolLM2: ASCII control
// characters such as 0x04 and bytes that are rare or impossible in UTF-8).
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "lib/base/sampling.h"
#include "lib/base/status.h"
#include "lib/text/added_tokens.h"
#include "lib/text/bpe.h"
#include "lib/text/prompt_segment.h"
#include "lib/text/vocabulary.h"
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
  // Requires ids in range, and texts and merges that belong together, as the readers make sure of.
  // Errors: corrupt for a pair of neighbours that the merges have twice.
  static Result<std::shared_ptr<const Tokenizer>> make(Vocabulary vocabulary);

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
  // user-defined one (<tool_call> and the like) adds its name: Hugging Face's tokenizers (added,
  // special false) and llama.cpp show it.
  std::string_view token_bytes(TokenId token) const;
  // Whether the first space of an output is the vocabulary's, not the text's (SentencePiece puts
  // one before each text); decode() leaves it out.
  bool drops_first_space() const { return vocabulary_.drop_first_space; }
  // A token as logprobs show it: its text (UTF-8, repaired), or a special token's name.
  std::string token_text(TokenId token) const;
  bool is_special(TokenId token) const;
  // The special token of that name.
  std::optional<TokenId> find_special(std::string_view name) const;

  // Ids that end a generation: the file's eos, eot and eom, and those usual for it
  // (add_usual_end_tokens). Ascending.
  std::span<const TokenId> end_tokens() const { return vocabulary_.end_tokens; }
  int32_t vocab_size() const { return static_cast<int32_t>(vocabulary_.tokens.size()); }
  // Set when prompts start with it.
  std::optional<TokenId> bos_token() const {
    return vocabulary_.add_bos ? vocabulary_.bos : std::nullopt;
  }
  // What chat templates call bos_token and eos_token; empty where the file names none.
  std::string bos_name() const { return vocabulary_.bos ? token_text(*vocabulary_.bos) : ""; }
  std::string eos_name() const { return vocabulary_.eos ? token_text(*vocabulary_.eos) : ""; }

  // How much merging a text takes, in candidates looked at: what bounds encode()'s time.
  Result<int64_t> count_merge_steps(std::string_view text) const;

 private:
  explicit Tokenizer(Vocabulary vocabulary) : vocabulary_(std::move(vocabulary)) {}
  Status index();
  Status index_merges();

  Result<std::vector<TokenId>> encode_segments(std::span<const PromptSegment> segments) const;
  // Appends the tokens of a piece of text without special tokens; `is_first`: none stands before
  // it. Requires valid UTF-8. `n_steps` counts the merge candidates.
  Status encode_piece(std::string_view text, bool is_first, std::vector<TokenId>& ids,
                      int64_t& n_steps) const;
  Status encode_words(std::string_view text, std::vector<TokenId>& ids, int64_t& n_steps) const;
  void split_symbols(std::string_view word, std::vector<BpeSymbol>& symbols) const;
  void append_tokens(std::string_view word, const std::vector<BpeSymbol>& symbols,
                     std::vector<TokenId>& ids) const;

  const Vocabulary vocabulary_;
  std::unordered_map<std::string_view, TokenId> words_;     // text tokens; keys lie in vocabulary_
  std::unordered_map<std::string_view, TokenId> specials_;  // names lie in vocabulary_
  std::array<TokenId, 256> byte_tokens_{};                  // -1: none
  std::vector<bool> text_added_;  // by token: added and part of text (is_text_token)
  AddedTokens added_;             // in the text as it came
  AddedTokens normalized_added_;  // in the normalised text
  Bpe bpe_;
};

}  // namespace parkd
