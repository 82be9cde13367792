// Who is on the other end of a connection, as the limits see it.
#pragma once

#include <sys/types.h>
#include <unistd.h>

namespace parkd {

// Root and the daemon's own user: no other peer's doings may keep them out.
inline bool is_keeper(uid_t uid) {
  return uid == 0 || uid == ::geteuid();
}

}  // namespace parkd
