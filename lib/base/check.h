// PARKD_CHECK: our own bugs stop the process; systemd starts it again and the queue recovers.
// Never for user input: that gets a Status. DCHECK is for inner loops and costs nothing in release.
#pragma once

#include <string>

namespace parkd {

// Writes one line to stderr (async-signal-safe) and aborts.
[[noreturn]] void check_failed(const char* file, int line, const char* condition,
                               const std::string& why);

}  // namespace parkd

#define PARKD_CHECK(condition, why)                                 \
  do {                                                              \
    if (!(condition)) [[unlikely]]                                  \
      ::parkd::check_failed(__FILE__, __LINE__, #condition, (why)); \
  } while (false)

#ifdef NDEBUG
#define PARKD_DCHECK(condition, why) \
  do {                               \
  } while (false)
#else
#define PARKD_DCHECK(condition, why) PARKD_CHECK(condition, why)
#endif
