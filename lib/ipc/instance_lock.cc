#include "lib/ipc/instance_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "lib/base/log.h"

namespace parkd {
namespace {

std::string error_text(int error) {
  std::array<char, 128> text{};
  return strerror_r(error, text.data(), text.size());  // GNU's form: it returns the text
}

// What the holder wrote of itself: "1234", or "unknown".
std::string read_pid(int fd) {
  std::array<char, 32> text{};
  const ssize_t n = ::pread(fd, text.data(), text.size(), 0);
  std::string pid;
  for (ssize_t i = 0;
       i < n && text[static_cast<size_t>(i)] >= '0' && text[static_cast<size_t>(i)] <= '9'; ++i) {
    pid += text[static_cast<size_t>(i)];
  }
  return pid.empty() ? "unknown" : pid;
}

// Over what stands there, so that a full disk has room for it.
bool write_pid(int fd) {
  const std::string text = std::to_string(::getpid()) + "\n";
  return ::pwrite(fd, text.data(), text.size(), 0) == static_cast<ssize_t>(text.size()) &&
         ::ftruncate(fd, static_cast<off_t>(text.size())) == 0;
}

}  // namespace

Result<InstanceLock> InstanceLock::acquire(const std::string& state_dir) {
  const std::string path = state_dir + "/parkd.lock";
  // O_CLOEXEC: a child must not keep the lock alive after us.
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) {
    const int error = errno;
    return invalid_param("daemon.state_dir",
                         "cannot open the lock file " + path + ": " + error_text(error));
  }
  InstanceLock lock(fd, path);
  int answer = 0;
  do {
    answer = ::flock(fd, LOCK_EX | LOCK_NB);
  } while (answer != 0 && errno == EINTR);
  if (answer != 0) {
    const int error = errno;
    if (error != EWOULDBLOCK) {
      return internal_error("cannot lock " + path + ": " + error_text(error));
    }
    return conflict("another parkd (pid " + read_pid(fd) + ") uses the state directory " +
                    state_dir + "; stop it, or give this one its own daemon.state_dir");
  }
  if (!write_pid(fd)) {
    log_warn("instance_lock.pid_not_written", {{"file", path}, {"error", error_text(errno)}});
  }
  return lock;
}

bool InstanceLock::is_in_place() const {
  struct stat held {};
  struct stat named {};
  return ::fstat(fd_, &held) == 0 && ::lstat(path_.c_str(), &named) == 0 &&
         held.st_dev == named.st_dev && held.st_ino == named.st_ino;
}

InstanceLock::InstanceLock(InstanceLock&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), path_(std::move(other.path_)) {}

InstanceLock& InstanceLock::operator=(InstanceLock&& other) noexcept {
  if (this != &other) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = std::exchange(other.fd_, -1);
    path_ = std::move(other.path_);
  }
  return *this;
}

InstanceLock::~InstanceLock() {
  if (fd_ >= 0) ::close(fd_);
}

}  // namespace parkd
