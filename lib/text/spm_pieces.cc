#include "lib/text/spm_pieces.h"

#include <algorithm>
#include <cmath>

#include "lib/base/json_writer.h"

namespace parkd {

std::string with_spaces(std::string_view text) {
  std::string out;
  for (;;) {
    const size_t at = text.find(kSpmSpace);
    out += text.substr(0, at);
    if (at == std::string_view::npos) return out;
    out += ' ';
    text.remove_prefix(at + kSpmSpace.size());
  }
}

int byte_of_name(std::string_view name) {
  const auto digit = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
  };
  if (name.size() != 6 || name.substr(0, 3) != "<0x" || name.back() != '>') return -1;
  const int high = digit(name[3]);
  const int low = digit(name[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

Status make_pieces(bool adds_space, Vocabulary& vocabulary) {
  const size_t n_tokens = vocabulary.tokens.size();
  if (vocabulary.scores.size() != n_tokens) {
    return corrupt("there are " + std::to_string(vocabulary.scores.size()) + " scores for " +
                   std::to_string(n_tokens) + " tokens");
  }
  vocabulary.order = Vocabulary::Order::scores;
  vocabulary.from_characters = true;
  vocabulary.fuse_unknown = true;
  for (size_t i = 0; i < n_tokens; ++i) {
    VocabularyToken& token = vocabulary.tokens[i];
    const auto bad = [&](const std::string& why) {
      return corrupt("token " + std::to_string(i) + " " + json_string(token.text) + " " + why);
    };
    if (std::isnan(vocabulary.scores[i])) return bad("has a score that is not a number");
    if (token.kind == TokenKind::byte) {
      const int byte = byte_of_name(token.text);
      if (byte < 0) return bad("is of type byte, but not named as <0x0A> is");
      token.text = static_cast<char>(byte);
      vocabulary.byte_fallback = true;
    } else if (token.kind == TokenKind::text || token.kind == TokenKind::user_defined) {
      token.text = with_spaces(token.text);
      if (token.kind == TokenKind::text && token.text.empty()) return bad("is empty");
    } else if (token.kind == TokenKind::unknown && !vocabulary.unknown) {
      vocabulary.unknown = static_cast<TokenId>(i);
    }
  }
  for (AddedToken& added : vocabulary.added) {
    if (vocabulary.tokens[static_cast<size_t>(added.id)].kind != TokenKind::user_defined) continue;
    added.text = with_spaces(added.text);
    added.normalized = true;  // SentencePiece looks for them where spaces are U+2581 already
  }
  vocabulary.normalizer.add_replace(std::string(kSpmSpace), " ");
  if (adds_space) vocabulary.space_prefix = SpacePrefix::first_then_if_missing;
  vocabulary.drop_first_space = adds_space;
  return {};
}

}  // namespace parkd
