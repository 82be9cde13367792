// The readers that make a Vocabulary of each format. A file is taken as hostile: what contradicts
// itself is corrupt, what is sound and not supported is invalid, and each error begins with the
// file's name and says which key or token is at fault.
// Pure functions, any thread. `file` names the bytes in errors.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "lib/text/vocabulary.h"
#include "lib/weights/gguf.h"

namespace parkd {

// GGUF's tokenizer.ggml.*: the kinds gpt2 (byte-level BPE) and llama (SentencePiece BPE).
Result<Vocabulary> read_gguf_vocabulary(const GgufFile& file);

// tokenizer.json, Hugging Face tokenizers: BPE, byte-level or with byte fallback.
Result<Vocabulary> read_tokenizer_json(std::string_view file, std::string_view text);

// tokenizer.model, SentencePiece's ModelProto: BPE.
Result<Vocabulary> read_tokenizer_model(std::string_view file, std::string_view bytes);

// tekken.json, mistral-common: BPE by rank.
Result<Vocabulary> read_tekken_json(std::string_view file, std::string_view text);

// What tokenizer_config.json (transformers) adds to a vocabulary: added_tokens_decoder, bos_token,
// eos_token, add_bos_token where the vocabulary's own file does not say.
struct TokenizerConfig {
  std::optional<std::string> bos_token;
  std::optional<std::string> eos_token;
  std::optional<bool> add_bos_token;
  struct Added {
    AddedToken token;
    bool special = false;
  };
  std::vector<Added> added;
};
Result<TokenizerConfig> read_tokenizer_config(std::string_view file, std::string_view text);
Status apply_tokenizer_config(std::string_view file, const TokenizerConfig& config,
                              Vocabulary& vocabulary);

}  // namespace parkd
