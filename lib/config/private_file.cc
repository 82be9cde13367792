#include "lib/config/private_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "lib/config/values.h"

namespace parkd {
namespace {

constexpr mode_t kModeMax = 0640;

struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

}  // namespace

Result<std::string> read_private_file(const PrivateFile& file) {
  const auto fail = [&file](const std::string& why) {
    return invalid_param(file.key, file.path + " " + why);
  };
  // A pipe is opened without waiting for its writer.
  const Descriptor opened{::open(file.path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)};
  struct stat now {};
  if (opened.fd < 0 || ::fstat(opened.fd, &now) != 0) {
    const bool is_missing = errno == ENOENT && !file.where_from.empty();
    return fail("cannot be read: " + std::string(std::strerror(errno)) +
                (is_missing ? "; " + file.where_from : ""));
  }
  if (!S_ISREG(now.st_mode)) return fail("is not a file");
  if ((now.st_mode & 0777 & ~kModeMax) != 0) {
    return fail("has the mode " + octal(now.st_mode & 0777) + ", by which " + file.why_private +
                "; it must be 0600 or 0640. Type: chmod 0600 " + file.path);
  }
  std::string text(file.bytes_max + 1, '\0');
  size_t size = 0;
  while (size < text.size()) {
    const ssize_t n = ::read(opened.fd, text.data() + size, text.size() - size);
    if (n < 0) return fail("cannot be read: " + std::string(std::strerror(errno)));
    if (n == 0) break;
    size += static_cast<size_t>(n);
  }
  text.resize(size);
  return text;
}

}  // namespace parkd
