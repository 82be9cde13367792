// InstanceLock: one daemon per state directory.
//
// A lock on the file "<state_dir>/parkd.lock" (flock). The kernel releases it when the process
// ends, however it ends, so there is no stale lock to take over and no pid to trust; the pid in the
// file is only for people. The file is never removed: a removed name could be locked twice. Made on
// the main thread at start, held until the daemon ends; move-only.
#pragma once

#include <string>
#include <utility>

#include "lib/base/status.h"

namespace parkd {

class InstanceLock {
 public:
  // Errors: conflict, naming the directory and the holder's pid, when another process holds it;
  // invalid or internal when the file cannot be opened or locked.
  static Result<InstanceLock> acquire(const std::string& state_dir);

  InstanceLock(InstanceLock&& other) noexcept;
  InstanceLock& operator=(InstanceLock&& other) noexcept;
  InstanceLock(const InstanceLock&) = delete;
  InstanceLock& operator=(const InstanceLock&) = delete;
  ~InstanceLock();

  const std::string& path() const { return path_; }

  // Whether the name still leads to the file that is held: no when the state directory was removed,
  // moved or replaced, and another process could lock what stands there now.
  bool is_in_place() const;

 private:
  InstanceLock(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}

  int fd_ = -1;  // the lock lives as long as this is open; -1 after a move
  std::string path_;
};

}  // namespace parkd
