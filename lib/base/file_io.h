// What every user of files needs: who owns a descriptor, what a failed call means, and that a name
// in a directory is on the disk. Any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "lib/base/status.h"

namespace parkd {

class OwnedFd {
 public:
  OwnedFd() = default;
  explicit OwnedFd(int fd) : fd_(fd) {}
  OwnedFd(OwnedFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  OwnedFd& operator=(OwnedFd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~OwnedFd();

  int get() const { return fd_; }  // below 0: none, and errno says why where it was just opened

 private:
  int fd_ = -1;
};

// What a call that set errno to `error` means: exhausted where the disk or a quota is full, else
// unavailable. "cannot WHAT: the system's words".
Status io_failure(const std::string& what, int error);

// All of `bytes` at `offset`. `path` is for the words of a failure.
Status write_at(const OwnedFd& file, std::string_view bytes, int64_t offset,
                const std::string& path);
// `size` bytes at `offset`, or fewer where the file ends.
Result<std::string> read_at(const OwnedFd& file, size_t size, int64_t offset,
                            const std::string& path);

// Names made, replaced or removed in the directory survive a power cut from now on.
Status sync_directory(const std::string& path);

}  // namespace parkd
