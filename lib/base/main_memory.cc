#include "lib/base/main_memory.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <string>

namespace parkd {

namespace {

// "/a/b" of a line "0::/a/b"; the other lines are of cgroups v1.
std::string unified_path(const std::string& of_process) {
  std::ifstream file(of_process);
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("0::", 0) == 0) return line.substr(3);
  }
  return "";
}

}  // namespace

std::optional<int64_t> cgroup_memory_limit(const std::string& root, const std::string& of_process) {
  std::optional<int64_t> least;
  for (std::string path = unified_path(of_process);;) {
    std::ifstream file(root + path + "/memory.max");  // "max", or bytes
    int64_t limit = 0;
    if (file >> limit && limit > 0) least = least ? std::min(*least, limit) : limit;
    const size_t slash = path.rfind('/');
    if (slash == std::string::npos) return least;
    path.resize(slash);
  }
}

int64_t main_memory_bytes() {
  const int64_t machine = int64_t{::sysconf(_SC_PHYS_PAGES)} * ::sysconf(_SC_PAGESIZE);
  const auto limit = cgroup_memory_limit("/sys/fs/cgroup", "/proc/self/cgroup");
  return limit ? std::min(machine, *limit) : machine;
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
