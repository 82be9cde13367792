// OutputText: the text of one choice as it grows, token by token, and the watch for stop strings.
// Bytes are kept as they come, since a token may end inside a character; text() makes UTF-8 of
// them. Owned by one Sequence. The stop strings must outlive it.
//
// Who tells the text as it grows takes it in pieces (release): a piece holds nothing that may yet
// become part of a stop string, or of a character that is not complete. All pieces together are
// text(), whatever was added and however it ended. Who takes none pays nothing for them.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace parkd {

// What a token adds to a text whose first space is dropped, while `drops` is true: it is until a
// token has bytes.
std::string_view without_first_space(std::string_view token_bytes, bool& drops);

class OutputText {
 public:
  // `drops_first_space`: the first byte is left out where it is a space, which a vocabulary put
  // before the text.
  OutputText(std::span<const std::string> stop_strings, bool drops_first_space);

  // Adds one token's bytes. Returns true when they complete a stop string: the text then ends
  // before the match that starts first, and nothing may be added any more. Looks back over the
  // borders of earlier tokens, as far as a stop string can reach.
  bool append(std::string_view token_bytes);

  // The text ends where its model did not end it: a character that is not complete at the end is
  // left out, as are the tokens that spell nothing before it. Nothing may be added any more.
  void leave_out_unfinished();

  // How many of the appended tokens have a byte in the text that is left, or lie before one that
  // has: a token the cut goes through is kept.
  size_t n_kept_tokens() const { return n_kept_tokens_; }

  // How many of the tokens' bytes the text is made of, the space that was left out not counted.
  size_t n_bytes() const { return bytes_.size(); }

  // How many of them were released.
  size_t n_released_bytes() const { return n_released_; }

  // Valid UTF-8: what is none, an unfinished character too, is repaired (repair_utf8).
  std::string text() const;

  // The next part of the text, and the appended tokens whose first byte lies in it (of kept ones).
  struct Piece {
    std::string_view text;  // repaired; lasts until the next call of this object
    size_t first_token = 0;
    size_t n_tokens = 0;
  };
  // What can no longer change and was not released before; mostly empty or one token's text. Costs
  // n_stop_strings comparisons for each byte of the longest.
  Piece release();
  // All that is left. Nothing may be appended any more.
  Piece release_rest() { return release_up_to(bytes_.size(), n_kept_tokens_); }

 private:
  void cut(size_t at);
  size_t first_that_may_stop() const;
  Piece release_up_to(size_t end, size_t n_tokens);

  const std::span<const std::string> stop_strings_;
  size_t longest_stop_ = 0;
  bool drops_space_ = false;  // of what comes next
  std::string bytes_;
  std::vector<size_t> token_starts_;  // offset in bytes_ of each token's first byte
  size_t n_kept_tokens_ = 0;
  size_t n_released_ = 0;         // of bytes_
  size_t n_released_tokens_ = 0;  // of the kept ones
  std::string repaired_;          // the last piece, where it needed that
};

}  // namespace parkd
