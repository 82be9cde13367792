#include "lib/ipc/running_ids.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>

#include "lib/base/check.h"
#include "lib/base/log.h"

namespace parkd {
namespace {

namespace fs = std::filesystem;

constexpr char kMagic[8] = {'p', 'a', 'r', 'k', 'd', 'r', 'u', 'n'};
constexpr uint32_t kVersion = 1;
constexpr uint32_t kPlacesMax = 1 << 20;

// The file: a Header, then Header::places Slots. In this machine's byte order: it never leaves it.
struct Header {
  char magic[8];
  uint32_t version;
  uint32_t places;
  std::atomic<uint32_t> word;
  uint32_t pid;  // for people
  char queue[232];
};
struct Slot {
  std::atomic<uint64_t> id;  // 0: free. Written last, so that a lease is never half there
  uint64_t epoch;
  uint64_t n;
};
static_assert(sizeof(Header) == 256 && sizeof(Slot) == 24);
static_assert(std::atomic<uint32_t>::is_always_lock_free &&
              std::atomic<uint64_t>::is_always_lock_free);

// The queue's name as it fits: the end tells paths apart better than the start.
std::string stored_name(const std::string& queue) {
  constexpr size_t kMax = sizeof(Header::queue) - 1;
  return queue.size() <= kMax ? queue : queue.substr(queue.size() - kMax);
}

std::string live_path(const std::string& state_dir) {
  return state_dir + "/running_ids";
}
std::string noting_path(const std::string& state_dir) {
  return state_dir + "/running_ids.noting";
}

Status io_error(const std::string& path, const char* what, int error) {
  return internal_error("cannot " + std::string(what) + " " + path + ": " + std::strerror(error));
}

Header& header_of(void* memory) {
  return *static_cast<Header*>(memory);
}
Slot& slot_of(void* memory, int32_t place) {
  return reinterpret_cast<Slot*>(static_cast<char*>(memory) + sizeof(Header))[place];
}

// Field by field, from bytes that anybody may have written.
template <class T>
T read_at(const std::string& bytes, size_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

// Errors: corrupt (not such a file), conflict (of another queue).
Result<LeftRunning> parse(const std::string& bytes, const std::string& queue) {
  if (bytes.size() < sizeof(Header)) return corrupt("it is shorter than its header");
  if (std::memcmp(bytes.data(), kMagic, sizeof kMagic) != 0) return corrupt("it has other magic");
  const auto version = read_at<uint32_t>(bytes, offsetof(Header, version));
  if (version != kVersion) {
    return corrupt("it is of version " + std::to_string(version) + ", this is " +
                   std::to_string(kVersion));
  }
  const auto places = read_at<uint32_t>(bytes, offsetof(Header, places));
  if (places > kPlacesMax || bytes.size() != sizeof(Header) + places * sizeof(Slot)) {
    return corrupt("its size " + std::to_string(bytes.size()) + " does not go with its " +
                   std::to_string(places) + " places");
  }
  const char* name = bytes.data() + offsetof(Header, queue);
  const std::string of_queue(name, strnlen(name, sizeof(Header::queue)));
  if (of_queue != stored_name(queue)) {
    return conflict("it is of the queue " + of_queue + ", this one is " + stored_name(queue));
  }
  LeftRunning left;
  left.word = read_at<uint32_t>(bytes, offsetof(Header, word));
  for (uint32_t i = 0; i < places; ++i) {
    const size_t slot = sizeof(Header) + i * sizeof(Slot);
    RunningId running;
    running.id = read_at<uint64_t>(bytes, slot);
    if (running.id == 0) continue;
    running.lease.epoch = read_at<uint64_t>(bytes, slot + offsetof(Slot, epoch));
    running.lease.n = read_at<uint64_t>(bytes, slot + offsetof(Slot, n));
    left.present.push_back(running);
  }
  return left;
}

// What a file says; nothing when there is none, or none that can be used.
std::optional<LeftRunning> read_left(const std::string& path, const std::string& queue) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return std::nullopt;
  const std::string bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  Result<LeftRunning> left = parse(bytes, queue);
  if (left.ok()) return std::move(left).value();
  log_warn("running_ids.ignored", {{"file", path}, {"why", left.status().message()}});
  return std::nullopt;
}

// Not cut before it is used again: on a full disk its blocks would be gone. -1: `failed` says why.
int open_allocated(const std::string& path, size_t size_bytes, int& failed) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) {
    failed = errno;
    return -1;
  }
  failed = ::posix_fallocate(fd, 0, static_cast<off_t>(size_bytes));
  if (failed == 0 && ::ftruncate(fd, static_cast<off_t>(size_bytes)) != 0) failed = errno;
  if (failed == 0) return fd;
  ::close(fd);
  return -1;
}

}  // namespace

std::string describe_death_word(uint32_t word) {
  static const std::map<uint32_t, std::string> kSignals = {{SIGSEGV, "SIGSEGV"},
                                                           {SIGBUS, "SIGBUS"},
                                                           {SIGFPE, "SIGFPE"},
                                                           {SIGILL, "SIGILL"},
                                                           {SIGABRT, "SIGABRT"}};
  if (word == kNoDeathNoted) return "nothing was noted: killed, or the power went";
  if (word == kDeviceLostWord) return "the device was lost";
  const auto known = kSignals.find(word);
  return (known == kSignals.end() ? "signal " + std::to_string(word) : known->second) +
         " on an engine thread";
}

Result<LeftRunning> take_left_running(const std::string& state_dir, const std::string& queue) {
  const std::string noting = noting_path(state_dir);
  std::error_code error;
  // A file kept aside comes first: its process had noted nothing yet, so it had claimed nothing.
  std::optional<LeftRunning> left = read_left(noting, queue);
  if (!left) {
    left = read_left(live_path(state_dir), queue);
    if (left && !left->present.empty()) {
      fs::rename(live_path(state_dir), noting, error);
      if (error) return io_error(noting, "make", error.value());
      return *left;
    }
    // It died idle. The file stays, for create(): on a full disk its blocks are worth having.
    if (left) return LeftRunning{};
  }
  fs::remove(live_path(state_dir), error);
  if (error) return io_error(live_path(state_dir), "remove", error.value());
  if (!left || left->present.empty()) {
    forget_left_running(state_dir);
    return LeftRunning{};
  }
  return *left;
}

void forget_left_running(const std::string& state_dir) {
  std::error_code error;
  fs::remove(noting_path(state_dir), error);
  // The store would only hear again what it has noted.
  if (error) log_warn("running_ids.not_removed", {{"error", error.message()}});
}

Result<std::unique_ptr<RunningIds>> RunningIds::create(const std::string& state_dir,
                                                       const std::string& queue, int32_t places) {
  PARKD_CHECK(places > 0 && static_cast<uint32_t>(places) <= kPlacesMax, "a sane number of places");
  const std::string path = live_path(state_dir);
  const size_t size_bytes = sizeof(Header) + static_cast<size_t>(places) * sizeof(Slot);
  int failed = 0;
  const int fd = open_allocated(path, size_bytes, failed);
  const bool is_full = failed == ENOSPC || failed == EDQUOT;
  if (fd < 0 && !is_full) return io_error(path, "make", failed);
  const int flags = is_full ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
  void* memory = ::mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, flags, fd, 0);
  const int map_error = errno;
  if (fd >= 0) ::close(fd);
  if (memory == MAP_FAILED) return io_error(path, "map", map_error);
  Header& header = header_of(memory);
  header.word = kNoDeathNoted;
  for (int32_t place = 0; place < places; ++place) slot_of(memory, place).id = 0;
  std::memset(header.queue, 0, sizeof header.queue);
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  header.version = kVersion;
  header.places = static_cast<uint32_t>(places);
  header.pid = static_cast<uint32_t>(::getpid());
  const std::string name = stored_name(queue);
  std::memcpy(header.queue, name.data(), name.size());
  std::string why_not_kept;
  if (is_full) why_not_kept = io_error(path, "allocate", failed).message();
  return std::unique_ptr<RunningIds>(
      new RunningIds(memory, size_bytes, places, std::move(why_not_kept)));
}

RunningIds::RunningIds(void* memory, size_t size_bytes, int32_t places, std::string why_not_kept)
    : memory_(memory), size_bytes_(size_bytes), why_not_kept_(std::move(why_not_kept)) {
  for (int32_t place = places - 1; place >= 0; --place) free_.push_back(place);
}

RunningIds::~RunningIds() {
  if (!noted()) {
    const auto places = static_cast<int32_t>(header_of(memory_).places);
    for (int32_t place = 0; place < places; ++place) slot_of(memory_, place).id = 0;
  }
  ::munmap(memory_, size_bytes_);
}

int32_t RunningIds::add(JobId id, RunLease lease) {
  PARKD_CHECK(!free_.empty(), "more jobs in the engines than they have sequences");
  const int32_t place = free_.back();
  free_.pop_back();
  if (noted()) return place;  // the file is that of the death now
  Slot& slot = slot_of(memory_, place);
  slot.epoch = lease.epoch;
  slot.n = lease.n;
  slot.id.store(id, std::memory_order_release);
  return place;
}

void RunningIds::remove(int32_t place) {
  free_.push_back(place);
  if (!noted()) slot_of(memory_, place).id.store(0, std::memory_order_release);
}

void RunningIds::note(uint32_t death) {
  uint32_t none = kNoDeathNoted;
  word().compare_exchange_strong(none, death);
}

bool RunningIds::noted() const {
  return header_of(memory_).word.load() != kNoDeathNoted;
}

std::atomic<uint32_t>& RunningIds::word() {
  return header_of(memory_).word;
}

}  // namespace parkd
