// RunningIds: which jobs are in the engine, in a file that tells of them however the process dies.
//
// "<state_dir>/running_ids" is mapped shared: writing it is a store into memory, no system call,
// and the kernel keeps it after kill -9. A power cut may leave an older state of it, or nothing;
// what is read back is only ever a hint, which the store's notes weigh (lib/store/rules.h,
// judge_death). Beside the ids stands one word: why the process is about to die, set by the crash
// handler or when a device is lost. From then on the file stays as it is: its ids are those of the
// death.
//
// Owned by the daemon. add() and remove() are the dispatcher's thread's; note() is any thread's,
// and a signal handler's.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "lib/base/status.h"
#include "lib/job/job_id.h"

namespace parkd {

// The word. 0: nothing was noted; a signal's number: it crashed on an engine thread;
// kDeviceLostWord.
inline constexpr uint32_t kNoDeathNoted = 0;
inline constexpr uint32_t kDeviceLostWord = 1000;

// For people: "SIGSEGV on an engine thread", "the device was lost".
std::string describe_death_word(uint32_t word);

struct RunningId {
  JobId id = 0;
  RunLease lease;
};

// What a process that is gone had in its engines. Empty: it died idle, or ended well.
struct LeftRunning {
  uint32_t word = kNoDeathNoted;
  std::vector<RunningId> present;
};

// Reads what the last process left behind, and keeps it aside (running_ids.noting) until
// forget_left_running(): if this process dies before the store has noted it, the next one finds it
// again. `queue` names the queue the ids belong to: those of another queue, and a file that is
// damaged or of another version, are dropped with a line in the log. Call it with the instance lock
// held, before RunningIds::create(). Errors: internal, when the directory cannot be read or
// written.
Result<LeftRunning> take_left_running(const std::string& state_dir, const std::string& queue);
void forget_left_running(const std::string& state_dir);

class RunningIds {
 public:
  // An empty file with room for `places` jobs; one that is there is used again. Its bytes are
  // allocated here, so that a full disk shows now and not as a SIGBUS later: then it is memory
  // alone, and the next process will not know (is_kept()). Errors: internal, naming the file.
  static Result<std::unique_ptr<RunningIds>> create(const std::string& state_dir,
                                                    const std::string& queue, int32_t places);
  // An orderly end is not a death: leaves the file empty, unless a death was noted.
  ~RunningIds();
  RunningIds(const RunningIds&) = delete;
  RunningIds& operator=(const RunningIds&) = delete;

  // Returns the place, for remove(). Requires a free one.
  int32_t add(JobId id, RunLease lease);
  void remove(int32_t place);

  // Whether it is a file. If not, why_not_kept() says why.
  bool is_kept() const { return why_not_kept_.empty(); }
  const std::string& why_not_kept() const { return why_not_kept_; }

  // Sets the word if it is not set yet.
  void note(uint32_t word);
  bool noted() const;
  // For the crash handler.
  std::atomic<uint32_t>& word();

 private:
  RunningIds(void* memory, size_t size_bytes, int32_t places, std::string why_not_kept);

  void* const memory_;
  const size_t size_bytes_;
  const std::string why_not_kept_;
  std::vector<int32_t> free_;  // places; the lowest last
};

}  // namespace parkd
