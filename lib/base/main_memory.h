// How much main memory this process may have. Any thread.
#pragma once

#include <cstdint>

namespace parkd {

// Bytes: the machine's, cut to the memory.max of its cgroup (v2, as a container sees its own).
int64_t main_memory_bytes();
// Of them: not in use now, as the kernel estimates it (MemAvailable).
int64_t available_memory_bytes();

}  // namespace parkd
