// StreamCursor: how far one listener has come in an answer of several choices, as the ids of its
// events say it, so that it can go on after a connection, or a daemon, has died.
//
// What was sent of a text is known by its length and its hash. A text that comes again (another run
// of the same job, the stored answer) is passed over as far as it was sent already, and compared:
// one that differs is never glued to the other.
// Values; one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace parkd {

class StreamCursor {
 public:
  // Ids of more choices would outweigh what they bring.
  static constexpr size_t kChoicesWithIdMax = 16;

  explicit StreamCursor(size_t n_choices) : choices_(n_choices) {}

  // Of an id() that a client gives back; nothing where it is none, or of another fingerprint or
  // number of choices: then the answer begins anew.
  static std::optional<StreamCursor> read(std::string_view id, std::string_view fingerprint,
                                          size_t n_choices);
  // FINGERPRINT:CHOICE,CHOICE,... and a choice is REASONING.CONTENT.LOGPROBS.HASH.HASH: bytes,
  // bytes and tokens that were sent, and FNV-1a of the two texts. Empty beyond kChoicesWithIdMax.
  std::string id(std::string_view fingerprint) const;

  size_t n_choices() const { return choices_.size(); }
  bool has_sent(size_t choice) const { return choices_[choice].has_begun; }
  // The first chunk of the choice was sent.
  void begin(size_t choice) { choices_[choice].has_begun = true; }

  // The texts come again from their beginning.
  void rewind();
  // The next piece of a text: the part of it that was not sent yet, which counts as sent now.
  std::string_view take_reasoning(size_t choice, std::string_view piece);
  std::string_view take_content(size_t choice, std::string_view piece);
  // Of the next n logprobs, how many were sent already.
  size_t take_logprobs(size_t choice, size_t n);

  // Whether what came again was other than what was sent.
  bool has_diverged() const { return has_diverged_; }
  // The same, where nothing follows: what was sent and did not come again is wrong, too.
  bool has_diverged_at_end() const;

 private:
  struct Text {
    size_t sent = 0;
    uint64_t hash = kEmptyHash;  // of what was sent
    size_t come = 0;             // since the last rewind
    uint64_t come_hash = kEmptyHash;
  };
  struct Choice {
    Text reasoning;
    Text content;
    size_t logprobs_sent = 0;
    size_t logprobs_come = 0;
    bool has_begun = false;
  };
  static constexpr uint64_t kEmptyHash = 0xcbf29ce484222325ull;  // FNV-1a's of nothing

  std::string_view take(Text& text, std::string_view piece);

  std::vector<Choice> choices_;
  bool has_diverged_ = false;
};

}  // namespace parkd
