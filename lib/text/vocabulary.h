// Vocabulary: all that makes one tokenizer differ from another, as a model file says it. Readers
// make one of GGUF's keys, of tokenizer.json (Hugging Face), of tokenizer.model (SentencePiece) and
// of tekken.json (Mistral); Tokenizer is made of it and asks no more where it came from.
//
// Spaces are spaces: where a format writes U+2581 for one, its reader writes a space, so that a
// token's text is what the token spells.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/sampling.h"
#include "lib/base/status.h"
#include "lib/text/normalizer.h"
#include "lib/text/pre_tokenizer.h"

namespace parkd {

inline constexpr int64_t kVocabTokensMax = 1 << 24;
inline constexpr size_t kAddedTokenBytesMax = 4096;

enum class TokenKind : uint8_t {
  text,          // words and pieces of them
  byte,          // a byte that no other token spells (byte fallback)
  control,       // steers a model, spells nothing: <|im_end|>
  user_defined,  // added by hand, spells its name: <tool_call>, a run of spaces, <table>
  unknown,       // stands for what has no token
  unused,        // a hole or a placeholder
};

struct VocabularyToken {
  std::string text;  // bytes of a text or byte token, else the name
  TokenKind kind = TokenKind::text;
};

// A token that is found in the text before it is split.
struct AddedToken {
  TokenId id = 0;
  std::string text;
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // and behind it
  bool single_word = false;  // not next to a letter or digit
  bool normalized = false;   // is looked for in the normalised text
};

// When a space is put before a piece of text (a piece: what lies between added tokens).
enum class SpacePrefix : uint8_t {
  none,
  each_piece,              // normalizer Prepend
  each_piece_if_missing,   // Metaspace "always", ByteLevel's add_prefix_space
  first_piece_if_missing,  // Metaspace "first": where no added token stands before it
  first_then_if_missing,   // SentencePiece: always before the text, after a token where none is
};

struct Vocabulary {
  std::vector<VocabularyToken> tokens;
  std::vector<AddedToken> added;  // of kind control or user_defined

  // Merging starts from bytes or from characters, and joins the neighbours that are best by
  enum class Order : uint8_t {
    merges,  // the list's order
    ranks,   // the id of what they become, the lowest first (tiktoken, tekken)
    scores,  // the score of what they become, the highest first (SentencePiece)
  };
  struct Merge {
    TokenId left = 0;
    TokenId right = 0;
    TokenId merged = 0;
  };
  Order order = Order::merges;
  bool from_characters = false;
  std::vector<Merge> merges;
  std::vector<float> scores;       // one a token
  bool whole_words_first = false;  // a word that is a token is not merged (ignore_merges)
  bool byte_fallback = false;      // a character without a token becomes its bytes' tokens,
  std::optional<TokenId> unknown;  // else this one (none: it is left out),
  bool fuse_unknown = false;       // one for several in a row

  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  SpacePrefix space_prefix = SpacePrefix::none;
  bool drop_first_space = false;  // of a decoded text

  std::optional<TokenId> bos;
  std::optional<TokenId> eos;
  bool add_bos = false;  // prompts start with bos
  std::vector<TokenId> end_tokens;

  // The token of that text among those that are not plain text.
  std::optional<TokenId> find_named(std::string_view name) const;
};

// Whether a user's text may become this user-defined token. What looks like a marker may not
// (<tool_call>, [INST], <|fim_prefix|>), whatever the file says of it, but HTML's elements may,
// which are text to the models that have tokens for them (Gemma).
bool is_text_token(std::string_view name);

// Ids that end a turn in models whose files name only one of them.
void add_usual_end_tokens(Vocabulary& vocabulary);

}  // namespace parkd
