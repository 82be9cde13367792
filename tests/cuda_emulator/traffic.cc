#include "traffic.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "machine.h"

namespace cuda_emulator {
namespace {

constexpr uintptr_t kSectorBytes = 32;

}  // namespace

void TrafficCounter::start() {
  is_on_ = true;
  launches_.clear();
}

std::vector<Traffic> TrafficCounter::stop() {
  is_on_ = false;
  return std::exchange(launches_, {});
}

void TrafficCounter::start_launch() {
  allocations_.clear();
  last_ = nullptr;
  for (auto& accesses : pending_) accesses.clear();  // of a launch that failed
  launches_.emplace_back();
  const Lock lock = Machine::get().lock();
  Machine::get().memory().for_each_device_allocation([&](const char* first, size_t bytes) {
    const size_t sectors = bytes / kSectorBytes + 1;
    allocations_.push_back({reinterpret_cast<uintptr_t>(first), bytes, std::vector<bool>(sectors),
                            std::vector<bool>(sectors)});
  });
}

TrafficCounter::Allocation* TrafficCounter::allocation_of(uintptr_t address) {
  if (last_ != nullptr && address - last_->first < last_->bytes) return last_;
  const auto after =
      std::upper_bound(allocations_.begin(), allocations_.end(), address,
                       [](uintptr_t at, const Allocation& a) { return at < a.first; });
  if (after == allocations_.begin()) return nullptr;
  Allocation& found = *(after - 1);
  if (address - found.first >= found.bytes) return nullptr;
  last_ = &found;
  return last_;
}

void TrafficCounter::access(unsigned thread, const void* address, size_t bytes, bool write,
                            const void* code) {
  const auto at = reinterpret_cast<uintptr_t>(address);
  Allocation* allocation = allocation_of(at);
  if (allocation == nullptr) return;
  std::vector<bool>& touched = write ? allocation->written : allocation->read;
  const uintptr_t offset = at - allocation->first;
  const uintptr_t last = std::min((offset + bytes - 1) / kSectorBytes, touched.size() - 1);
  for (uintptr_t sector = offset / kSectorBytes; sector <= last; ++sector) touched[sector] = true;
  pending_[thread / 32].push_back({code, thread % 32, 0, write, at, bytes});
}

void TrafficCounter::converge(unsigned warp) {
  std::vector<Access>& accesses = pending_[warp];
  if (accesses.empty()) return;
  const auto lane_at = [](const Access& a) { return std::tuple(a.code, a.write, a.lane); };
  std::stable_sort(accesses.begin(), accesses.end(),
                   [&](const Access& a, const Access& b) { return lane_at(a) < lane_at(b); });
  for (size_t i = 1; i < accesses.size(); ++i) {
    if (lane_at(accesses[i]) == lane_at(accesses[i - 1])) {
      accesses[i].turn = accesses[i - 1].turn + 1;
    }
  }
  const auto warp_at = [](const Access& a) { return std::tuple(a.code, a.write, a.turn); };
  std::sort(accesses.begin(), accesses.end(), [&](const Access& a, const Access& b) {
    return std::tuple(warp_at(a), a.address) < std::tuple(warp_at(b), b.address);
  });
  size_t first = 0;
  for (size_t i = 1; i <= accesses.size(); ++i) {
    if (i < accesses.size() && warp_at(accesses[i]) == warp_at(accesses[first])) continue;
    add(accesses, first, i);
    first = i;
  }
  accesses.clear();
}

// One access of the warp: bytes and sectors that several lanes want count once.
void TrafficCounter::add(const std::vector<Access>& accesses, size_t first, size_t last) {
  Traffic& traffic = launches_.back();
  uintptr_t end = 0;      // of the bytes counted
  uintptr_t sectors = 0;  // the first one not counted
  for (size_t i = first; i < last; ++i) {
    const Access& a = accesses[i];
    const uintptr_t a_end = a.address + a.bytes;
    if (a_end <= end) continue;
    const uintptr_t from = std::max(a.address, end);
    (a.write ? traffic.bytes_written : traffic.bytes_read) += a_end - from;
    end = a_end;
    const uintptr_t last_sector = (a_end - 1) / kSectorBytes + 1;
    traffic.sectors +=
        last_sector - std::min(last_sector, std::max(a.address / kSectorBytes, sectors));
    sectors = std::max(sectors, last_sector);
  }
}

void TrafficCounter::converge_block() {
  for (unsigned warp = 0; warp < pending_.size(); ++warp) converge(warp);
}

void TrafficCounter::end_launch() {
  converge_block();
  for (const Allocation& allocation : allocations_) {
    const auto n = std::count(allocation.read.begin(), allocation.read.end(), true) +
                   std::count(allocation.written.begin(), allocation.written.end(), true);
    launches_.back().memory_bytes += static_cast<uint64_t>(n) * kSectorBytes;
  }
}

}  // namespace cuda_emulator
