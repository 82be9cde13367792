// "Did you mean ...?": of the words that are known the one that a slip of the finger is away.
// Pure, any thread.
#pragma once

#include <string_view>
#include <vector>

namespace parkd {

// The word of `known` that `word` is fewest edits (Levenshtein's distance) away from; "" when none
// is within one edit (two, of words of five letters and more).
std::string_view nearest_word(std::string_view word, const std::vector<std::string_view>& known);

}  // namespace parkd
