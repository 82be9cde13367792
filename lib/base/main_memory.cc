#include "lib/base/main_memory.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <string>

namespace parkd {

int64_t main_memory_bytes() {
  const int64_t machine = int64_t{::sysconf(_SC_PHYS_PAGES)} * ::sysconf(_SC_PAGESIZE);
  std::ifstream file("/sys/fs/cgroup/memory.max");  // "max", or bytes
  int64_t limit = 0;
  if (!(file >> limit) || limit <= 0) return machine;
  return std::min(machine, limit);
}

int64_t available_memory_bytes() {
  std::ifstream file("/proc/meminfo");
  std::string word;
  int64_t kib = 0;
  while (file >> word) {
    if (word == "MemAvailable:" && file >> kib) return std::min(main_memory_bytes(), kib << 10);
  }
  return main_memory_bytes();
}

}  // namespace parkd
