// Linking it replaces the program's operator new by one that counts.
#pragma once

#include <cstdint>

namespace parkd::testing {

// Allocations of the calling thread so far.
int64_t allocations_of_this_thread();

}  // namespace parkd::testing
