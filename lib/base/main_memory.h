// How much main memory this process may have. Any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace parkd {

// Bytes: the machine's, cut to the least memory.max of the process's cgroup and those above it (v2:
// MemoryMax of a systemd unit, the limit of a container).
int64_t main_memory_bytes();
// Of them: not in use now, as the kernel estimates it (MemAvailable).
int64_t available_memory_bytes();

// The least memory.max on the way from `root` to the cgroup that the file `of_process` names (a
// line "0::/system.slice/parkd.service", as /proc/self/cgroup has it); empty: none limits it. A
// path that is not there counts as the part of it that is, as in a container that sees only its
// own.
std::optional<int64_t> cgroup_memory_limit(const std::string& root, const std::string& of_process);

}  // namespace parkd
