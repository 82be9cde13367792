#include "lib/base/file_io.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace parkd {

OwnedFd::~OwnedFd() {
  if (fd_ >= 0) ::close(fd_);
}

Status io_failure(const std::string& what, int error) {
  const std::string message = "cannot " + what + ": " + std::generic_category().message(error);
  return error == ENOSPC || error == EDQUOT ? exhausted(message) : unavailable(message);
}

Status write_at(const OwnedFd& file, std::string_view bytes, int64_t offset,
                const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(file.get(), bytes.data(), bytes.size(), offset);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return io_failure("write " + path, n < 0 ? errno : ENOSPC);
    bytes.remove_prefix(static_cast<size_t>(n));
    offset += n;
  }
  return {};
}

Result<std::string> read_at(const OwnedFd& file, size_t size, int64_t offset,
                            const std::string& path) {
  std::string bytes(size, '\0');
  size_t done = 0;
  while (done < size) {
    const ssize_t n =
        ::pread(file.get(), bytes.data() + done, size - done, offset + static_cast<int64_t>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return io_failure("read " + path, errno);
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  bytes.resize(done);
  return bytes;
}

Status sync_directory(const std::string& path) {
  const OwnedFd directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory.get() >= 0 && ::fsync(directory.get()) == 0) return {};
  return io_failure("sync the directory " + path, errno);
}

}  // namespace parkd
