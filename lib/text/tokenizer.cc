#include "lib/text/tokenizer.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "lib/base/json_writer.h"
#include "lib/base/text.h"
#include "lib/text/unicode.h"
#include "lib/text/vocabulary_readers.h"

namespace parkd {
namespace {

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

// Each token's place by its score, the highest first; one place for equal scores.
std::vector<int32_t> ranks_of(const std::vector<float>& scores) {
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return scores[a] > scores[b]; });
  std::vector<int32_t> ranks(scores.size());
  int32_t rank = -1;
  for (size_t i = 0; i < order.size(); ++i) {
    if (i == 0 || scores[order[i]] != scores[order[i - 1]]) ++rank;
    ranks[order[i]] = rank;
  }
  return ranks;
}

bool needs_space(SpacePrefix prefix, std::string_view text, bool is_first) {
  const bool is_missing = text.front() != ' ';
  switch (prefix) {
    case SpacePrefix::none:
      return false;
    case SpacePrefix::each_piece:
      return true;
    case SpacePrefix::each_piece_if_missing:
      return is_missing;
    case SpacePrefix::first_piece_if_missing:
      return is_first && is_missing;
    case SpacePrefix::first_then_if_missing:
      return is_first || is_missing;
  }
  return false;
}

}  // namespace

Result<std::shared_ptr<const Tokenizer>> Tokenizer::load(const GgufFile& file) {
  PARKD_ASSIGN_OR_RETURN(Vocabulary vocabulary, read_gguf_vocabulary(file));
  auto made = make(std::move(vocabulary));
  if (made.ok()) return made;
  return Status(made.status().code(), file.error_text(made.status().message()));
}

Result<std::shared_ptr<const Tokenizer>> Tokenizer::make(Vocabulary vocabulary) {
  add_usual_end_tokens(vocabulary);
  const std::shared_ptr<Tokenizer> tokenizer(new Tokenizer(std::move(vocabulary)));
  PARKD_RETURN_IF_ERROR(tokenizer->index());
  return std::shared_ptr<const Tokenizer>(tokenizer);
}

Status Tokenizer::index() {
  byte_tokens_.fill(-1);
  text_added_.resize(vocabulary_.tokens.size());
  for (size_t i = 0; i < vocabulary_.tokens.size(); ++i) {
    const auto id = static_cast<TokenId>(i);
    const VocabularyToken& token = vocabulary_.tokens[i];
    switch (token.kind) {
      case TokenKind::text: {
        // Where a vocabulary has a word twice, its first id is the one that encoding gives.
        const bool is_new = words_.emplace(token.text, id).second;
        if (is_new && !vocabulary_.from_characters && token.text.size() == 1) {
          byte_tokens_[static_cast<uint8_t>(token.text.front())] = id;
        }
        break;
      }
      case TokenKind::byte: {
        TokenId& byte_token = byte_tokens_[static_cast<uint8_t>(token.text.front())];
        if (byte_token < 0) byte_token = id;
        break;
      }
      case TokenKind::control:
      case TokenKind::user_defined:
      case TokenKind::unknown:
        if (!token.text.empty()) specials_.emplace(token.text, id);
        break;
      case TokenKind::unused:
        break;
    }
  }
  for (const AddedToken& added : vocabulary_.added) {
    const auto id = static_cast<size_t>(added.id);
    const bool is_text =
        vocabulary_.tokens[id].kind == TokenKind::user_defined && is_text_token(added.text);
    if (is_text) text_added_[id] = true;
    (is_text && added.normalized ? normalized_added_ : added_).add(added, !is_text);
  }
  return index_merges();
}

Status Tokenizer::index_merges() {
  if (vocabulary_.order == Vocabulary::Order::merges) {
    bpe_.reserve_merges(vocabulary_.merges.size());
    for (size_t i = 0; i < vocabulary_.merges.size(); ++i) {
      const Vocabulary::Merge& merge = vocabulary_.merges[i];
      if (is_special(merge.merged)) continue;  // templates name it; a user's text gets its letters
      if (bpe_.add_merge(merge.left, merge.right, merge.merged)) continue;
      return corrupt("merge " + std::to_string(i) + " of " + json_string(token_text(merge.left)) +
                     " and " + json_string(token_text(merge.right)) + " stands there twice");
    }
    return {};
  }
  std::vector<int32_t> ranks;
  if (vocabulary_.order == Vocabulary::Order::scores) ranks = ranks_of(vocabulary_.scores);
  for (const auto& [text, id] : words_) {
    bpe_.add_word(text, ranks.empty() ? id : ranks[static_cast<size_t>(id)], id);
  }
  return {};
}

void Tokenizer::split_symbols(std::string_view word, std::vector<BpeSymbol>& symbols) const {
  symbols.clear();
  if (!vocabulary_.from_characters) {
    for (size_t i = 0; i < word.size(); ++i) {
      const TokenId token = byte_tokens_[static_cast<uint8_t>(word[i])];
      if (token >= 0) symbols.push_back({token, static_cast<uint32_t>(i), 1});
    }
    return;
  }
  for (size_t at = 0; at < word.size();) {
    const size_t length = utf8_length(word[at]);
    const auto found = words_.find(word.substr(at, length));
    symbols.push_back({found == words_.end() ? -1 : found->second, static_cast<uint32_t>(at),
                       static_cast<uint32_t>(length)});
    at += length;
  }
}

void Tokenizer::append_tokens(std::string_view word, const std::vector<BpeSymbol>& symbols,
                              std::vector<TokenId>& ids) const {
  bool after_unknown = false;
  for (const BpeSymbol& symbol : symbols) {
    if (symbol.token >= 0) {
      ids.push_back(symbol.token);
      after_unknown = false;
      continue;
    }
    const std::string_view bytes = word.substr(symbol.begin, symbol.size);
    if (vocabulary_.byte_fallback && std::all_of(bytes.begin(), bytes.end(), [this](char c) {
          return byte_tokens_[static_cast<uint8_t>(c)] >= 0;
        })) {
      for (const char c : bytes) ids.push_back(byte_tokens_[static_cast<uint8_t>(c)]);
      after_unknown = false;
      continue;
    }
    if (vocabulary_.unknown && !(after_unknown && vocabulary_.fuse_unknown)) {
      ids.push_back(*vocabulary_.unknown);
    }
    after_unknown = true;
  }
}

Status Tokenizer::encode_words(std::string_view text, std::vector<TokenId>& ids,
                               int64_t& n_steps) const {
  std::vector<std::string_view> words;
  PARKD_RETURN_IF_ERROR(vocabulary_.pre_tokenizer.split(text, words));
  std::vector<BpeSymbol> symbols;
  for (const std::string_view word : words) {
    if (vocabulary_.whole_words_first) {
      if (const auto found = words_.find(word); found != words_.end()) {
        ids.push_back(found->second);
        continue;
      }
    }
    split_symbols(word, symbols);
    n_steps += bpe_.merge(word, symbols);
    append_tokens(word, symbols, ids);
  }
  return {};
}

Status Tokenizer::encode_piece(std::string_view text, bool is_first, std::vector<TokenId>& ids,
                               int64_t& n_steps) const {
  if (text.empty()) return {};
  std::string changed;
  if (!vocabulary_.normalizer.changes_nothing()) {
    PARKD_ASSIGN_OR_RETURN(changed, vocabulary_.normalizer.apply(std::string(text)));
    text = changed;
    if (text.empty()) return {};
  }
  if (needs_space(vocabulary_.space_prefix, text, is_first)) {
    changed = " " + std::string(text);
    text = changed;
  }
  if (normalized_added_.empty()) return encode_words(text, ids, n_steps);
  std::vector<AddedTokens::Part> parts;
  normalized_added_.split(text, {}, parts);
  for (const AddedTokens::Part& part : parts) {
    if (part.token >= 0) {
      ids.push_back(part.token);
    } else {
      PARKD_RETURN_IF_ERROR(encode_words(part.text, ids, n_steps));
    }
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
  const std::optional<TokenId> bos = bos_token();
  if (bos && (ids.empty() || ids.front() != *bos)) ids.insert(ids.begin(), *bos);
  return ids;
}

Result<std::vector<TokenId>> Tokenizer::encode_segments(
    std::span<const PromptSegment> segments) const {
  std::string text;
  AddedTokens::Ranges literals;
  for (const PromptSegment& segment : segments) {
    PARKD_RETURN_IF_ERROR(check_text(segment.text));
    if (segment.kind == PromptSegment::Kind::literal && !segment.text.empty()) {
      const size_t end = text.size() + segment.text.size();
      if (!literals.empty() && literals.back().second == text.size()) {
        literals.back().second = end;
      } else {
        literals.emplace_back(text.size(), end);
      }
    }
    text += segment.text;
  }
  PARKD_RETURN_IF_ERROR(check_text(text));

  std::vector<AddedTokens::Part> parts;
  added_.split(text, literals, parts);
  std::vector<TokenId> ids;
  int64_t n_steps = 0;
  for (const AddedTokens::Part& part : parts) {
    if (part.token >= 0) {
      ids.push_back(part.token);
    } else {
      const bool is_first = &part == &parts.front();
      PARKD_RETURN_IF_ERROR(encode_piece(part.text, is_first, ids, n_steps));
    }
  }
  return ids;
}

Result<int64_t> Tokenizer::count_merge_steps(std::string_view text) const {
  PARKD_RETURN_IF_ERROR(check_text(text));
  std::vector<TokenId> ids;
  int64_t n_steps = 0;
  PARKD_RETURN_IF_ERROR(encode_piece(text, true, ids, n_steps));
  return n_steps;
}

std::string Tokenizer::decode(std::span<const TokenId> tokens) const {
  std::string bytes;
  bool is_first = true;
  for (const TokenId token : tokens) {
    std::string_view more = token_bytes(token);
    if (more.empty()) continue;
    if (is_first && drops_first_space() && more.front() == ' ') more.remove_prefix(1);
    is_first = false;
    bytes += more;
  }
  return repair_utf8(bytes);
}

std::string_view Tokenizer::token_bytes(TokenId token) const {
  if (token < 0 || token >= vocab_size()) return {};
  const VocabularyToken& found = vocabulary_.tokens[static_cast<size_t>(token)];
  const bool spells = found.kind == TokenKind::text || found.kind == TokenKind::byte ||
                      found.kind == TokenKind::user_defined;
  return spells ? std::string_view(found.text) : std::string_view();
}

std::string Tokenizer::token_text(TokenId token) const {
  if (token < 0 || token >= vocab_size()) return {};
  return repair_utf8(vocabulary_.tokens[static_cast<size_t>(token)].text);
}

bool Tokenizer::is_special(TokenId token) const {
  if (token < 0 || token >= vocab_size()) return false;
  const TokenKind kind = vocabulary_.tokens[static_cast<size_t>(token)].kind;
  if (kind == TokenKind::user_defined) return !text_added_[static_cast<size_t>(token)];
  return kind != TokenKind::text && kind != TokenKind::byte;
}

std::optional<TokenId> Tokenizer::find_special(std::string_view name) const {
  const auto found = specials_.find(name);
  if (found == specials_.end()) return std::nullopt;
  return found->second;
}

}  // namespace parkd
