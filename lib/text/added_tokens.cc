#include "lib/text/added_tokens.h"

#include "lib/text/unicode.h"

namespace parkd {

void AddedTokens::add(const AddedToken& token, bool guarded) {
  if (token.text.empty()) return;
  int32_t node = 0;
  for (const char c : token.text) {
    const uint64_t key = static_cast<uint64_t>(node) << 8 | static_cast<uint8_t>(c);
    const auto [child, is_new] =
        children_.emplace(key, static_cast<int32_t>(entry_of_node_.size()));
    if (is_new) entry_of_node_.push_back(-1);
    node = child->second;
  }
  int32_t& entry = entry_of_node_[static_cast<size_t>(node)];
  if (entry >= 0) return;
  entry = static_cast<int32_t>(tokens_.size());
  tokens_.push_back({token.id, token.lstrip, token.rstrip, token.single_word, guarded});
  const auto first = static_cast<uint8_t>(token.text.front());
  begins_[first] = true;
  if (guarded) return;
  begins_unguarded_[first] = true;
  has_unguarded_ = true;
}

// The longest token at `at` that may stand there: a guarded one ends by `template_end`.
const AddedTokens::Entry* AddedTokens::longest_at(std::string_view text, size_t at,
                                                  size_t template_end, size_t& size) const {
  const Entry* longest = nullptr;
  int32_t node = 0;
  for (size_t end = at; end < text.size();) {
    const uint64_t key = static_cast<uint64_t>(node) << 8 | static_cast<uint8_t>(text[end]);
    const auto child = children_.find(key);
    if (child == children_.end()) break;
    node = child->second;
    ++end;
    const int32_t entry = entry_of_node_[static_cast<size_t>(node)];
    if (entry < 0) continue;
    const Entry& token = tokens_[static_cast<size_t>(entry)];
    if (token.guarded && end > template_end) continue;
    longest = &token;
    size = end - at;
  }
  return longest;
}

void AddedTokens::split(std::string_view text, const Ranges& template_text,
                        std::vector<Part>& parts) const {
  size_t done = 0;   // what stands before it is in `parts`
  size_t range = 0;  // of template_text, the first that ends behind `at`
  for (size_t at = 0; at < text.size();) {
    while (range < template_text.size() && template_text[range].second <= at) ++range;
    const bool is_template = range < template_text.size() && template_text[range].first <= at;
    if (!is_template && !has_unguarded_) {  // on to the next range at once
      if (range >= template_text.size()) break;
      at = template_text[range].first;
      continue;
    }
    const auto first = static_cast<uint8_t>(text[at]);
    if (!(is_template ? begins_ : begins_unguarded_)[first]) {
      ++at;
      continue;
    }
    size_t size = 0;
    const Entry* found = longest_at(text, at, is_template ? template_text[range].second : 0, size);
    if (found == nullptr || (found->single_word && (ends_with_word(text.substr(0, at)) ||
                                                    begins_with_word(text.substr(at + size))))) {
      at += found == nullptr ? 1 : size;
      continue;
    }
    size_t begin = at;
    size_t end = at + size;
    if (found->lstrip) begin -= trailing_space(text.substr(done, begin - done));
    if (found->rstrip) end += leading_space(text.substr(end));
    if (begin > done) parts.push_back({text.substr(done, begin - done), -1});
    parts.push_back({text.substr(begin, end - begin), found->id});
    done = at = end;
  }
  if (done < text.size()) parts.push_back({text.substr(done), -1});
}

}  // namespace parkd
