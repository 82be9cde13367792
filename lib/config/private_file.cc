#include "lib/config/private_file.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>

#include "lib/base/file_io.h"
#include "lib/config/values.h"

namespace parkd {
namespace {

constexpr mode_t kModeMax = 0640;

}  // namespace

Result<std::string> read_private_file(const PrivateFile& file) {
  const auto fail = [&file](const std::string& why) {
    return invalid_param(file.key, file.path + " " + why);
  };
  // A pipe is opened without waiting for its writer.
  const OwnedFd opened(::open(file.path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  struct stat now {};
  if (opened.get() < 0 || ::fstat(opened.get(), &now) != 0) {
    const bool is_missing = errno == ENOENT && !file.where_from.empty();
    return fail("cannot be read: " + std::string(std::strerror(errno)) +
                (is_missing ? "; " + file.where_from : ""));
  }
  if (!S_ISREG(now.st_mode)) return fail("is not a file");
  if ((now.st_mode & 0777 & ~kModeMax) != 0) {
    return fail("has the mode " + octal(now.st_mode & 0777) + ", by which " + file.why_private +
                "; it must be 0600 or 0640. Type: chmod 0600 " + file.path);
  }
  auto text = read_at(opened, file.bytes_max + 1, 0, file.path);
  if (!text.ok()) return invalid_param(file.key, text.status().message());
  return text;
}

}  // namespace parkd
