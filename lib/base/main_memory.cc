#include "lib/base/main_memory.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>

namespace parkd {

int64_t main_memory_bytes() {
  const int64_t machine = int64_t{::sysconf(_SC_PHYS_PAGES)} * ::sysconf(_SC_PAGESIZE);
  std::ifstream file("/sys/fs/cgroup/memory.max");  // "max", or bytes
  int64_t limit = 0;
  if (!(file >> limit) || limit <= 0) return machine;
  return std::min(machine, limit);
}

}  // namespace parkd
