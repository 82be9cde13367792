#include "tests/store/failing_new.h"

#include <execinfo.h>
#include <link.h>
#include <pthread.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/base/check.h"

namespace {

struct Range {
  uintptr_t first = 0, last = 0;
};
Range database;  // where its code lies; set before anything is armed
std::vector<std::string> threads = {"store", "store-sync"};
std::string library = "librocksdb";

struct Fault {
  std::atomic<bool> armed{false};
  std::atomic<size_t> seen{0};
  std::atomic<size_t> failed{0};
  size_t first = 0, count = 0, bytes_min = 0;
};
Fault fault;
thread_local bool is_asking = false;

int find_database(dl_phdr_info* info, size_t, void*) {
  if (std::string_view(info->dlpi_name).find(library) == std::string_view::npos) return 0;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const auto& part = info->dlpi_phdr[i];
    if (part.p_type != PT_LOAD || (part.p_flags & PF_X) == 0) continue;
    database.first = info->dlpi_addr + part.p_vaddr;
    database.last = database.first + part.p_memsz;
  }
  return 1;
}

bool is_store_thread() {
  std::array<char, 16> name{};
  (void)::pthread_getname_np(::pthread_self(), name.data(), name.size());
  return std::count(threads.begin(), threads.end(), std::string_view(name.data())) > 0;
}

bool is_within_database() {
  std::array<void*, 128> frames{};
  const int n = ::backtrace(frames.data(), static_cast<int>(frames.size()));
  return std::any_of(frames.begin(), frames.begin() + n, [](void* frame) {
    const auto at = reinterpret_cast<uintptr_t>(frame);
    return at >= database.first && at < database.last;
  });
}

bool fails(size_t bytes) {
  if (!fault.armed || is_asking || bytes < fault.bytes_min) return false;
  is_asking = true;
  const bool is_ours = is_store_thread() && !is_within_database();
  is_asking = false;
  if (!is_ours) return false;
  const size_t n = fault.seen++;
  if (n < fault.first || n - fault.first >= fault.count) return false;
  ++fault.failed;
  return true;
}

void* allocate_or_null(size_t bytes) noexcept {
  return fails(bytes) ? nullptr : std::malloc(bytes);
}

void* allocate(size_t bytes) {
  void* const memory = allocate_or_null(bytes);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

[[gnu::noinline]] void* operator new(size_t bytes) {
  return allocate(bytes);
}
[[gnu::noinline]] void* operator new[](size_t bytes) {
  return allocate(bytes);
}
// std::stable_sort asks by these; a sanitizer's own would not go with our delete.
[[gnu::noinline]] void* operator new(size_t bytes, const std::nothrow_t&) noexcept {
  return allocate_or_null(bytes);
}
[[gnu::noinline]] void* operator new[](size_t bytes, const std::nothrow_t&) noexcept {
  return allocate_or_null(bytes);
}
[[gnu::noinline]] void operator delete(void* memory) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete[](void* memory) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete[](void* memory, size_t) noexcept {
  std::free(memory);
}

namespace parkd::testing {

void FailingNew::aim(std::vector<std::string> names, std::string left_alone) {
  threads = std::move(names);
  library = std::move(left_alone);
}

void FailingNew::arm(size_t first, size_t count, size_t bytes_min) {
  if (database.first == 0) {
    (void)is_within_database();  // its first call loads a library
    ::dl_iterate_phdr(find_database, nullptr);
    PARKD_CHECK(database.first != 0, "the database's library is no shared one here");
  }
  fault.seen = 0;
  fault.failed = 0;
  fault.first = first;
  fault.count = count;
  fault.bytes_min = bytes_min;
  fault.armed = true;
}

size_t FailingNew::n_failed() {
  return fault.failed;
}

size_t FailingNew::disarm() {
  fault.armed = false;
  return fault.failed;
}

}  // namespace parkd::testing
