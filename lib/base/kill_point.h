// Kill points: named places where a crash test kills the process as SIGKILL would.
//
// Compiled only where PARKD_KILL_POINTS is defined (dev, asan, tsan); elsewhere they are nothing.
// PARKD_KILL_AT=name:n in the environment kills at the n-th passing of the point `name` (n from 1).
// Every point that exists is listed by `parkd --list-kill-points`, which the crash test reads, so
// that a point nobody can hit is noticed.
#pragma once

#ifdef PARKD_KILL_POINTS
#define PARKD_KILL_POINT(name) ::parkd::kill_point(name)
#else
#define PARKD_KILL_POINT(name) \
  do {                         \
  } while (false)
#endif

#include <span>
#include <string_view>

namespace parkd {

// Any thread. Does not return when the environment asks for a kill here.
void kill_point(std::string_view name);

// The names of all points in the program, whether compiled in or not.
std::span<const std::string_view> kill_point_names();

}  // namespace parkd
