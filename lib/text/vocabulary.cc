#include "lib/text/vocabulary.h"

#include <algorithm>
#include <array>

#include "lib/text/unicode.h"

namespace parkd {
namespace {

// Elements of HTML that models have tokens for.
constexpr std::array<std::string_view, 34> kElements = {
    "a",   "b",     "blockquote", "body", "br",    "caption", "code", "div",    "em",
    "h1",  "h2",    "h3",         "h4",   "h5",    "h6",      "head", "hr",     "html",
    "i",   "li",    "ol",         "p",    "pre",   "s",       "span", "strong", "sub",
    "sup", "table", "tbody",      "td",   "tfoot", "th",      "thead"};
constexpr std::array<std::string_view, 3> kMoreElements = {"tr", "u", "ul"};

bool is_element(std::string_view name) {
  if (!name.empty() && name.front() == '/') name.remove_prefix(1);
  return std::find(kElements.begin(), kElements.end(), name) != kElements.end() ||
         std::find(kMoreElements.begin(), kMoreElements.end(), name) != kMoreElements.end();
}

}  // namespace

std::optional<TokenId> Vocabulary::find_named(std::string_view name) const {
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i].kind != TokenKind::text && tokens[i].text == name) {
      return static_cast<TokenId>(i);
    }
  }
  return std::nullopt;
}

bool is_text_token(std::string_view name) {
  name.remove_prefix(std::min(name.size(), leading_space(name)));
  name.remove_suffix(trailing_space(name));
  if (name.size() < 3) return true;
  const bool angles = name.front() == '<' && name.back() == '>';
  const bool brackets = name.front() == '[' && name.back() == ']';
  if (!angles && !brackets) return true;
  return angles && is_element(name.substr(1, name.size() - 2));
}

void add_usual_end_tokens(Vocabulary& vocabulary) {
  std::vector<TokenId>& ends = vocabulary.end_tokens;
  for (const std::string_view name :
       {"<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end|>", "<end_of_turn>"}) {
    if (const std::optional<TokenId> id = vocabulary.find_named(name)) ends.push_back(*id);
  }
  std::sort(ends.begin(), ends.end());
  ends.erase(std::unique(ends.begin(), ends.end()), ends.end());
}

}  // namespace parkd
