// What a job is known by. Values, any thread.
#pragma once

#include <compare>
#include <cstdint>

namespace parkd {

using JobId = uint64_t;

// The fence: who claimed a job, and which time. Grows at each claim and across restarts, never
// reused. (0, 0) = never claimed.
struct RunLease {
  uint64_t epoch = 0;  // embedded: counts the opens of the store; postgres: the daemon's start
  uint64_t n = 0;      // counts the claims within it
  friend auto operator<=>(const RunLease&, const RunLease&) = default;
};

}  // namespace parkd
