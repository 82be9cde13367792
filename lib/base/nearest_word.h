// "Did you mean ...?": of the words that are known the one that a slip of the finger is away.
// Pure, any thread.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

namespace parkd {

// How many edits apart they are: an edit inserts, removes or replaces a byte, or swaps two
// neighbours.
size_t edit_distance(std::string_view a, std::string_view b);

// The word of `known` that `word` is fewest edits away from; "" when none
// is within one edit (two, of words of five letters and more).
std::string_view nearest_word(std::string_view word, const std::vector<std::string_view>& known);

}  // namespace parkd
