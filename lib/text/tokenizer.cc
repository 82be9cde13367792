#include "lib/text/tokenizer.h"

#include <algorithm>
#include <utility>

#include "lib/base/json_writer.h"
#include "lib/base/text.h"

namespace parkd {
namespace {

// GGUF's token types (llama.cpp, llama_token_type).
enum TokenType : int64_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5 };

constexpr int64_t kVocabMax = 1 << 24;

Status check_text(std::string_view text) {
  if (text.size() > kTokenizerTextBytesMax) {
    return invalid("the text has " + std::to_string(text.size()) + " bytes, the limit is " +
                   std::to_string(kTokenizerTextBytesMax));
  }
  const size_t valid = valid_utf8_prefix(text);
  if (valid != text.size()) {
    return invalid("the text is not UTF-8: the byte at offset " + std::to_string(valid) +
                   " begins no character");
  }
  return {};
}

}  // namespace

Result<std::shared_ptr<const Tokenizer>> Tokenizer::load(const GgufFile& file) {
  PARKD_ASSIGN_OR_RETURN(const std::string_view model, file.string("tokenizer.ggml.model"));
  if (model != "gpt2") {
    return invalid(file.error_text("tokenizer.ggml.model " + json_string(model) +
                                   " is not supported yet (gpt2, byte-level BPE, is)"));
  }
  const std::shared_ptr<Tokenizer> tokenizer(new Tokenizer);
  // A file that does not say how its text is split would give plausible and wrong tokens.
  PARKD_ASSIGN_OR_RETURN(const std::string_view pre, file.string("tokenizer.ggml.pre"));
  auto pre_tokenizer = PreTokenizer::make(pre);
  if (!pre_tokenizer.ok()) {
    return invalid(file.error_text(pre_tokenizer.status().message()));
  }
  tokenizer->pre_tokenizer_ = std::move(pre_tokenizer).value();
  PARKD_RETURN_IF_ERROR(tokenizer->load_tokens(file));
  PARKD_RETURN_IF_ERROR(tokenizer->load_merges(file));
  PARKD_RETURN_IF_ERROR(tokenizer->load_special_ids(file));
  return std::shared_ptr<const Tokenizer>(tokenizer);
}

Status Tokenizer::load_tokens(const GgufFile& file) {
  PARKD_ASSIGN_OR_RETURN(const auto texts, file.strings("tokenizer.ggml.tokens"));
  PARKD_ASSIGN_OR_RETURN(const auto types, file.integers("tokenizer.ggml.token_type"));
  const auto n_tokens = static_cast<int64_t>(texts.size());
  if (n_tokens == 0 || n_tokens > kVocabMax) {
    return corrupt(file.error_text("tokenizer.ggml.tokens has " + std::to_string(n_tokens) +
                                   " tokens, the limits are 1 and " + std::to_string(kVocabMax)));
  }
  if (types.size() != texts.size()) {
    return corrupt(file.error_text("tokenizer.ggml.token_type has " + std::to_string(types.size()) +
                                   " entries for " + std::to_string(n_tokens) + " tokens"));
  }

  tokens_.reserve(texts.size());  // never again: words_ and specials_ point into it
  specials_by_first_byte_.resize(256);
  for (size_t i = 0; i < texts.size(); ++i) {
    const auto id = static_cast<TokenId>(i);
    if (types[i] != kNormal) {
      tokens_.push_back({std::string(texts[i]), true, types[i] == kUserDefined});
      const std::string& name = tokens_.back().text;
      // A placeholder in the vocabulary is not a name that a template could mean.
      if (types[i] == kUnused || name.empty()) continue;
      specials_.emplace(name, id);
      specials_by_first_byte_[static_cast<uint8_t>(name.front())].push_back(id);
      continue;
    }
    std::optional<std::string> bytes = bytes_of_byte_level_text(texts[i]);
    if (!bytes || bytes->empty()) {
      return corrupt(file.error_text("token " + std::to_string(i) + " " + json_string(texts[i]) +
                                     " is not spelled in the byte-level alphabet"));
    }
    tokens_.push_back({std::move(*bytes), false, true});
    const std::string& word = tokens_.back().text;
    // Where a vocabulary has a word twice, its first id is the one that encoding gives.
    if (words_.emplace(word, id).second && word.size() == 1) {
      bpe_.add_byte(static_cast<uint8_t>(word.front()), id);
    }
  }
  for (std::vector<TokenId>& ids : specials_by_first_byte_) {
    std::stable_sort(ids.begin(), ids.end(), [this](TokenId a, TokenId b) {
      return tokens_[static_cast<size_t>(a)].text.size() >
             tokens_[static_cast<size_t>(b)].text.size();
    });
  }
  return {};
}

Status Tokenizer::load_merges(const GgufFile& file) {
  PARKD_ASSIGN_OR_RETURN(const auto merges, file.strings("tokenizer.ggml.merges"));
  for (size_t i = 0; i < merges.size(); ++i) {
    const auto bad = [&](const std::string& why) {
      return corrupt(
          file.error_text("merge " + std::to_string(i) + " " + json_string(merges[i]) + " " + why));
    };
    const size_t space = merges[i].find(' ');
    if (space == std::string_view::npos) return bad("has no space between its two parts");
    const auto left = bytes_of_byte_level_text(merges[i].substr(0, space));
    const auto right = bytes_of_byte_level_text(merges[i].substr(space + 1));
    if (!left || !right) return bad("is not spelled in the byte-level alphabet");
    const auto left_id = words_.find(*left);
    const auto right_id = words_.find(*right);
    const auto merged_id = words_.find(*left + *right);
    if (left_id == words_.end() || right_id == words_.end() || merged_id == words_.end()) {
      return bad("names a token that the vocabulary does not have");
    }
    if (!bpe_.add_merge(left_id->second, right_id->second, merged_id->second)) {
      return bad("stands there twice");
    }
  }
  return {};
}

Status Tokenizer::load_special_ids(const GgufFile& file) {
  const auto read_id = [&](std::string_view key) -> Result<std::optional<TokenId>> {
    if (!file.has(key)) return std::optional<TokenId>();
    PARKD_ASSIGN_OR_RETURN(const int64_t id, file.integer(key));
    if (id < 0 || id >= vocab_size()) {
      return corrupt(file.error_text(std::string(key) + " is " + std::to_string(id) +
                                     ", the vocabulary has " + std::to_string(vocab_size()) +
                                     " tokens"));
    }
    return std::optional<TokenId>(static_cast<TokenId>(id));
  };

  for (const char* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                          "tokenizer.ggml.eom_token_id"}) {
    PARKD_ASSIGN_OR_RETURN(const std::optional<TokenId> id, read_id(key));
    if (id) end_tokens_.push_back(*id);
  }
  // Many files name only one of them, and the model may end a turn with the other.
  for (const std::string_view name : {"<|im_end|>", "<|endoftext|>"}) {
    if (const std::optional<TokenId> id = find_special(name)) end_tokens_.push_back(*id);
  }
  std::sort(end_tokens_.begin(), end_tokens_.end());
  end_tokens_.erase(std::unique(end_tokens_.begin(), end_tokens_.end()), end_tokens_.end());

  // llama3's tokenizer asks for its BOS whether or not the file says so (llama.cpp, llama-vocab).
  PARKD_ASSIGN_OR_RETURN(const bool add_bos, file.boolean_or("tokenizer.ggml.add_bos_token",
                                                             pre_tokenizer_.whole_words_first()));
  if (!add_bos) return {};
  PARKD_ASSIGN_OR_RETURN(bos_token_, read_id("tokenizer.ggml.bos_token_id"));
  if (!bos_token_) {
    return corrupt(
        file.error_text("prompts start with a BOS token, but key "
                        "\"tokenizer.ggml.bos_token_id\" is missing"));
  }
  return {};
}

TokenId Tokenizer::special_at(std::string_view text) const {
  for (const TokenId id : specials_by_first_byte_[static_cast<uint8_t>(text.front())]) {
    const std::string& name = tokens_[static_cast<size_t>(id)].text;
    if (text.substr(0, name.size()) == name) return id;
  }
  return -1;
}

Status Tokenizer::encode_plain(std::string_view text, std::vector<TokenId>& ids) const {
  std::vector<std::string_view> words;
  PARKD_RETURN_IF_ERROR(pre_tokenizer_.split(text, words));
  for (const std::string_view word : words) {
    if (pre_tokenizer_.whole_words_first()) {
      if (const auto found = words_.find(word); found != words_.end()) {
        ids.push_back(found->second);
        continue;
      }
    }
    bpe_.encode_word(word, ids);
  }
  return {};
}

Result<std::vector<TokenId>> Tokenizer::encode(std::string_view text,
                                               SpecialTokens specials) const {
  const PromptSegment segment{specials == SpecialTokens::parsed ? PromptSegment::Kind::literal
                                                                : PromptSegment::Kind::content,
                              std::string(text)};
  return encode_segments({&segment, 1});
}

Result<std::vector<TokenId>> Tokenizer::encode_prompt(std::span<const PromptSegment> prompt) const {
  PARKD_ASSIGN_OR_RETURN(std::vector<TokenId> ids, encode_segments(prompt));
  if (bos_token_ && (ids.empty() || ids.front() != *bos_token_)) {
    ids.insert(ids.begin(), *bos_token_);
  }
  return ids;
}

Result<std::vector<TokenId>> Tokenizer::encode_segments(
    std::span<const PromptSegment> segments) const {
  std::vector<TokenId> ids;
  std::string plain;  // text since the last special token
  for (const PromptSegment& segment : segments) {
    PARKD_RETURN_IF_ERROR(check_text(segment.text));
    if (segment.kind == PromptSegment::Kind::content) {
      plain += segment.text;
      continue;
    }
    for (std::string_view rest = segment.text; !rest.empty();) {
      const TokenId special = special_at(rest);
      if (special < 0) {
        plain += rest.front();
        rest.remove_prefix(1);
        continue;
      }
      PARKD_RETURN_IF_ERROR(encode_plain(plain, ids));
      plain.clear();
      ids.push_back(special);
      rest.remove_prefix(tokens_[static_cast<size_t>(special)].text.size());
    }
  }
  PARKD_RETURN_IF_ERROR(check_text(plain));
  PARKD_RETURN_IF_ERROR(encode_plain(plain, ids));
  return ids;
}

Result<int64_t> Tokenizer::count_merge_steps(std::string_view text) const {
  PARKD_RETURN_IF_ERROR(check_text(text));
  std::vector<std::string_view> words;
  PARKD_RETURN_IF_ERROR(pre_tokenizer_.split(text, words));
  int64_t n_steps = 0;
  std::vector<TokenId> ids;
  for (const std::string_view word : words) n_steps += bpe_.encode_word(word, ids);
  return n_steps;
}

std::string Tokenizer::decode(std::span<const TokenId> tokens) const {
  std::string bytes;
  for (const TokenId token : tokens) bytes += token_bytes(token);
  return repair_utf8(bytes);
}

std::string_view Tokenizer::token_bytes(TokenId token) const {
  if (token < 0 || token >= vocab_size()) return {};
  const Token& found = tokens_[static_cast<size_t>(token)];
  return found.is_text ? std::string_view(found.text) : std::string_view();
}

std::string Tokenizer::token_text(TokenId token) const {
  if (token < 0 || token >= vocab_size()) return {};
  return repair_utf8(tokens_[static_cast<size_t>(token)].text);
}

bool Tokenizer::is_special(TokenId token) const {
  return token >= 0 && token < vocab_size() && tokens_[static_cast<size_t>(token)].special;
}

std::optional<TokenId> Tokenizer::find_special(std::string_view name) const {
  const auto found = specials_.find(name);
  if (found == specials_.end()) return std::nullopt;
  return found->second;
}

}  // namespace parkd
