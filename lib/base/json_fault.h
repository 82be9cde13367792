// Why a text is not JSON, in words that a person can act on.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace parkd {

// "byte 17", and of a text of several lines "line 2, byte 17"; `at` counts from 0.
std::string place_in(std::string_view text, size_t at);

// Place and cause of what stopped a parser at `at`: "byte 18: a comma before the closing bracket".
std::string fault_at(std::string_view text, size_t at);

}  // namespace parkd
