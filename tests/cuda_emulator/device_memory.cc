#include "device_memory.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "sanitizer.h"

namespace cuda_emulator {
namespace {

constexpr size_t kAlignment = 256;  // as cudaMalloc gives
constexpr size_t kGuardBytes = asan::kOn ? 0 : 256;
constexpr unsigned char kGuard = 0xA5;

}  // namespace

void* DeviceMemory::allocate(Kind kind, int device, size_t bytes, bool is_ready) {
  // Memory in stream order comes from the pool, of what that keeps first.
  const bool is_pooled = !is_ready;
  const size_t from_kept = is_pooled ? std::min(kept(device), bytes) : 0;
  if (kind == Kind::device && used(device) + kept(device) - from_kept + bytes > limit_) {
    return nullptr;
  }
  void* memory = nullptr;
  if (::posix_memalign(&memory, kAlignment, bytes + kGuardBytes) != 0) return nullptr;
  auto* first = static_cast<char*>(memory);
  if (kGuardBytes > 0) std::memset(first + bytes, kGuard, kGuardBytes);
  kept_[device] -= from_kept;
  allocations_[first] = {kind, device, bytes, false};
  asan::poison(first, bytes);
  if (is_ready) set_ready(memory);
  return memory;
}

void DeviceMemory::set_ready(void* memory) {
  const auto found = allocations_.find(static_cast<const char*>(memory));
  if (found == allocations_.end()) return;  // freed meanwhile
  asan::unpoison(memory, found->second.bytes);
  std::memset(memory, 0xFF, found->second.bytes);  // NaN in every type of float
  found->second.is_ready = true;
}

bool DeviceMemory::has(Kind kind, const void* memory) const {
  const auto found = allocations_.find(static_cast<const char*>(memory));
  return found != allocations_.end() && found->second.kind == kind;
}

std::string DeviceMemory::free(Kind kind, void* memory) {
  const auto found = allocations_.find(static_cast<const char*>(memory));
  if (found == allocations_.end() || found->second.kind != kind) {
    return "freed memory that was not allocated this way";
  }
  const size_t bytes = found->second.bytes;
  auto* first = static_cast<char*>(memory);
  bool intact = true;
  for (size_t i = 0; i < kGuardBytes; ++i) {
    intact = intact && static_cast<unsigned char>(first[bytes + i]) == kGuard;
  }
  asan::unpoison(memory, bytes);
  std::memset(memory, 0xFF, bytes);  // who still reads it gets NaN
  std::free(memory);
  allocations_.erase(found);
  if (intact) return {};
  return "an allocation of " + std::to_string(bytes) + " bytes was written behind its end";
}

size_t DeviceMemory::kept(int device) const {
  const auto found = kept_.find(device);
  return found == kept_.end() ? 0 : found->second;
}

size_t DeviceMemory::bytes_of(const void* memory) const {
  const auto found = allocations_.find(static_cast<const char*>(memory));
  return found == allocations_.end() ? 0 : found->second.bytes;
}

void DeviceMemory::free_all() {
  kept_.clear();
  for (auto& [memory, allocation] : allocations_) {
    asan::unpoison(memory, allocation.bytes);
    std::free(const_cast<char*>(memory));
  }
  allocations_.clear();
}

DeviceMemory::Allocations::const_iterator DeviceMemory::containing(const void* memory) const {
  const auto* address = static_cast<const char*>(memory);
  auto found = allocations_.upper_bound(address);
  if (found == allocations_.begin()) return allocations_.end();
  --found;
  return address < found->first + std::max<size_t>(found->second.bytes, 1) ? found
                                                                           : allocations_.end();
}

std::string DeviceMemory::check_device(const char* what, const void* memory, size_t bytes) const {
  const auto found = containing(memory);
  if (found == allocations_.end() || found->second.kind != Kind::device) {
    return std::string(what) + ": the device's side is not device memory (or was freed)";
  }
  const auto offset = static_cast<size_t>(static_cast<const char*>(memory) - found->first);
  if (offset + bytes > found->second.bytes) {
    return std::string(what) + " of " + std::to_string(bytes) + " bytes at offset " +
           std::to_string(offset) + " of an allocation of " + std::to_string(found->second.bytes);
  }
  if (!found->second.is_ready) {
    return std::string(what) + ": the memory's cudaMallocAsync has not run on its stream yet";
  }
  return {};
}

std::string DeviceMemory::check_host(const char* what, const void* memory) const {
  const auto found = containing(memory);
  if (found == allocations_.end() || found->second.kind == Kind::pinned) return {};
  return std::string(what) + ": the host's side is device memory";
}

size_t DeviceMemory::used(int device) const {
  size_t bytes = 0;
  for (const auto& [memory, allocation] : allocations_) {
    if (allocation.kind == Kind::device && allocation.device == device) bytes += allocation.bytes;
  }
  return bytes;
}

}  // namespace cuda_emulator
