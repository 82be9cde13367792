#include <utility>

#include "lib/base/json_reader.h"
#include "lib/base/json_writer.h"
#include "lib/text/spm_pieces.h"
#include "lib/text/tokenizer_file.h"
#include "lib/text/vocabulary_readers.h"

namespace parkd {
namespace {

namespace json = boost::json;

// "<s>", or {"content": "<s>", ..}.
std::optional<std::string> token_name(const json::object& root, std::string_view name) {
  if (const json::string* text = string_in(root, name)) return std::string(view(*text));
  const json::object* entry = object_in(root, name);
  const json::string* content = entry == nullptr ? nullptr : string_in(*entry, "content");
  if (content == nullptr) return std::nullopt;
  return std::string(view(*content));
}

std::optional<TokenId> id_of_key(std::string_view key) {
  if (key.empty() || key.size() > 8) return std::nullopt;
  TokenId id = 0;
  for (const char c : key) {
    if (c < '0' || c > '9') return std::nullopt;
    id = id * 10 + (c - '0');
  }
  return id;
}

}  // namespace

Result<TokenizerConfig> read_tokenizer_config(std::string_view file, std::string_view text) {
  PARKD_ASSIGN_OR_RETURN(const TokenizerFile read, TokenizerFile::read(file, text));
  const json::object& root = read.root();
  TokenizerConfig config;
  config.bos_token = token_name(root, "bos_token");
  config.eos_token = token_name(root, "eos_token");
  if (is_given(root, "add_bos_token")) config.add_bos_token = bool_in(root, "add_bos_token", false);
  const json::object* added = object_in(root, "added_tokens_decoder");
  if (added == nullptr) return config;
  for (const auto& member : *added) {
    const std::string place = "added_tokens_decoder[" + json_string(member.key()) + "]";
    const std::optional<TokenId> id = id_of_key(member.key());
    const json::object* entry = member.value().if_object();
    const json::string* content = entry == nullptr ? nullptr : string_in(*entry, "content");
    if (!id || content == nullptr || content->empty() || content->size() > kAddedTokenBytesMax) {
      return read.corrupt_at(place, "is not the id of a token with a content of 1 to " +
                                        std::to_string(kAddedTokenBytesMax) + " bytes");
    }
    TokenizerConfig::Added made;
    made.token.id = *id;
    made.token.text = std::string(view(*content));
    made.token.lstrip = bool_in(*entry, "lstrip", false);
    made.token.rstrip = bool_in(*entry, "rstrip", false);
    made.token.single_word = bool_in(*entry, "single_word", false);
    made.token.normalized = bool_in(*entry, "normalized", false);
    made.special = bool_in(*entry, "special", false);
    config.added.push_back(std::move(made));
  }
  return config;
}

Status apply_tokenizer_config(std::string_view file, const TokenizerConfig& config,
                              Vocabulary& vocabulary) {
  const auto wrong = [&](const std::string& why) {
    return corrupt(std::string(file) + ": " + why);
  };
  for (const TokenizerConfig::Added& each : config.added) {
    const auto index = static_cast<size_t>(each.token.id);
    if (index >= vocabulary.tokens.size() + config.added.size()) {
      return wrong("added_tokens_decoder has the id " + std::to_string(each.token.id) +
                   ", the vocabulary has " + std::to_string(vocabulary.tokens.size()) + " tokens");
    }
    if (index >= vocabulary.tokens.size()) {
      vocabulary.tokens.resize(index + 1, {std::string(), TokenKind::unused});
    }
    VocabularyToken& token = vocabulary.tokens[index];
    if (token.kind == TokenKind::byte) continue;
    if (!token.text.empty() && token.text != each.token.text &&
        token.text != with_spaces(each.token.text)) {
      return wrong("added_tokens_decoder gives id " + std::to_string(each.token.id) + " to " +
                   json_string(each.token.text) + ", the vocabulary to " + json_string(token.text));
    }
    const bool is_added = token.kind == TokenKind::control ||
                          token.kind == TokenKind::user_defined || token.kind == TokenKind::unknown;
    if (!is_added) {
      token.text = each.token.text;
      vocabulary.added.push_back(each.token);
    }
    if (token.kind != TokenKind::unknown) {
      token.kind = each.special ? TokenKind::control : TokenKind::user_defined;
    }
  }
  if (!vocabulary.scores.empty()) vocabulary.scores.resize(vocabulary.tokens.size());
  const auto named = [&](const std::optional<std::string>& name, std::string_view key,
                         std::optional<TokenId>& id) -> Status {
    if (!name || name->empty()) return {};
    const std::optional<TokenId> found = vocabulary.find_named(*name);
    if (!found) {
      return wrong(std::string(key) + " " + json_string(*name) +
                   " is not an added token of the vocabulary");
    }
    id = found;
    return {};
  };
  if (!vocabulary.add_bos)
    PARKD_RETURN_IF_ERROR(named(config.bos_token, "bos_token", vocabulary.bos));
  PARKD_RETURN_IF_ERROR(named(config.eos_token, "eos_token", vocabulary.eos));
  if (config.add_bos_token) vocabulary.add_bos = *config.add_bos_token;
  if (vocabulary.add_bos && !vocabulary.bos) {
    return wrong("add_bos_token is true, but there is no bos_token");
  }
  return {};
}

}  // namespace parkd
