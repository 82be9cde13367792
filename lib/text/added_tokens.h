// AddedTokens: finds a vocabulary's added tokens in text, the leftmost one first and of those the
// longest, as Hugging Face's tokenizers do. A token that steers the model is found only where the
// caller says that the text is a template's own.
// Filled once, then immutable; any thread.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "lib/text/vocabulary.h"

namespace parkd {

class AddedTokens {
 public:
  // `guarded`: found in template text only. Of two with one text the first is kept.
  void add(const AddedToken& token, bool guarded);

  bool empty() const { return tokens_.empty(); }
  bool has_unguarded() const { return has_unguarded_; }

  // A part of the text: a token and what it takes of the white space around it, or none (-1).
  struct Part {
    std::string_view text;
    TokenId token = -1;
  };
  // Ranges [begin, end) of a text that are a template's own, ascending.
  using Ranges = std::vector<std::pair<size_t, size_t>>;
  // Appends the parts of `text`, none of them empty; together they are all of it.
  void split(std::string_view text, const Ranges& template_text, std::vector<Part>& parts) const;

 private:
  struct Entry {
    TokenId id = 0;
    bool lstrip = false;
    bool rstrip = false;
    bool single_word = false;
    bool guarded = false;
  };
  const Entry* longest_at(std::string_view text, size_t at, size_t template_end,
                          size_t& size) const;

  // A trie; node 0 is its root.
  std::unordered_map<uint64_t, int32_t> children_;  // by (node << 8 | byte)
  std::vector<int32_t> entry_of_node_ = {-1};
  std::vector<Entry> tokens_;
  std::array<bool, 256> begins_{};            // the first byte of any
  std::array<bool, 256> begins_unguarded_{};  // of an unguarded one
  bool has_unguarded_ = false;
};

}  // namespace parkd
