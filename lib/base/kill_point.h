// Kill points: named places where a crash test kills the process as SIGKILL would.
//
// Compiled only where PARKD_KILL_POINTS is defined (dev, asan, tsan); elsewhere they are nothing.
// PARKD_KILL_AT=name:n in the environment kills at the n-th passing of the point `name` (n from 1).
// Every point that exists is listed by `parkd --list-kill-points`, which the crash test reads, so
// that a point that is never hit is noticed.
#pragma once

// A poison point is where an engine thread dies of a poison prompt, in the same builds:
// PARKD_POISON=seed:how:n makes the request with that seed deadly once it has n tokens of its own,
// by how = segv, abort, kill (-9) or device (lost).
#ifdef PARKD_KILL_POINTS
#define PARKD_KILL_POINT(name) ::parkd::kill_point(name)
#define PARKD_POISON_POINT(seed, n_tokens) ::parkd::poison_point(seed, n_tokens)
#else
#define PARKD_KILL_POINT(name) \
  do {                         \
  } while (false)
#define PARKD_POISON_POINT(seed, n_tokens) \
  (static_cast<void>(seed), static_cast<void>(n_tokens), false)
#endif

#include <cstdint>
#include <span>
#include <string_view>

namespace parkd {

// Any thread. Does not return when the environment asks for a kill here.
void kill_point(std::string_view name);

// Any thread. True when the device is to be lost; does not return when the process is to die.
bool poison_point(uint64_t seed, int64_t n_tokens);

// The names of all points in the program, whether compiled in or not.
std::span<const std::string_view> kill_point_names();

}  // namespace parkd
