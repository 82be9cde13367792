// Pieces of JSON text as they stand: what jobctl passes on keeps the daemon's own bytes, numbers
// included. Only for text that a parser has already accepted.
#pragma once

#include <string_view>
#include <vector>

namespace parkd::jobctl {

// The text of the object's member; "null" when there is none. `key` needs no escapes.
std::string_view raw_member(std::string_view object, std::string_view key);

std::vector<std::string_view> raw_elements(std::string_view array);

}  // namespace parkd::jobctl
