// The files by which an operator and the next opening agree on a loss (log_check.h). Each is
// replaced whole and synced, as the directory's owner, 0600.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <iterator>

#include "lib/base/file_io.h"
#include "lib/store/rocksdb/log_check.h"

namespace parkd::wal {
namespace {

Status fill(int fd, const std::string& dir, const std::string& path, const std::string& text) {
  struct stat owner {};
  if (::stat(dir.c_str(), &owner) != 0) return io_failure("stat " + dir, errno);
  if (::geteuid() == 0 && ::fchown(fd, owner.st_uid, owner.st_gid) != 0) {
    return io_failure("give " + path + " to the owner of " + dir, errno);
  }
  if (::write(fd, text.data(), text.size()) != static_cast<ssize_t>(text.size()) ||
      ::fsync(fd) != 0) {
    return io_failure("write " + path, errno);
  }
  return {};
}

Status replace(const std::string& dir, const std::string& name, const std::string& text) {
  const std::string path = dir + "/" + name;
  const std::string fresh = path + ".new";
  (void)::unlink(fresh.c_str());
  const int fd = ::open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return io_failure("make " + fresh, errno);
  const Status filled = fill(fd, dir, fresh, text);
  ::close(fd);
  PARKD_RETURN_IF_ERROR(filled);
  if (::rename(fresh.c_str(), path.c_str()) != 0) return io_failure("rename " + fresh, errno);
  return sync_directory(dir);
}

Status remove(const std::string& dir, const std::string& name) {
  if (::unlink((dir + "/" + name).c_str()) != 0) {
    if (errno == ENOENT) return not_found("there is no file " + name + " in " + dir);
    return io_failure("remove " + dir + "/" + name, errno);
  }
  return sync_directory(dir);
}

std::string read_text(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

constexpr const char* kAccept = "accept\n";
constexpr const char* kBegun = "begun\n";

}  // namespace

Status accept_loss(const std::string& dir, const Loss& loss) {
  return replace(dir, kAcceptFile, kAccept + loss.name() + "\n" + loss.summary() + "\n");
}

std::optional<Acceptance> read_acceptance(const std::string& dir) {
  const std::string text = read_text(dir + "/" + kAcceptFile);
  const size_t first = text.find('\n');
  const size_t second = first == std::string::npos ? first : text.find('\n', first + 1);
  if (second == std::string::npos) return std::nullopt;
  Acceptance acceptance;
  acceptance.begun = text.substr(0, first + 1) == kBegun;
  acceptance.name = text.substr(first + 1, second - first - 1);
  acceptance.text = text.substr(second + 1);
  while (acceptance.text.ends_with('\n')) acceptance.text.pop_back();
  return acceptance;
}

Status begin_acceptance(const std::string& dir, const Acceptance& acceptance) {
  return replace(dir, kAcceptFile, kBegun + acceptance.name + "\n" + acceptance.text + "\n");
}

Status end_acceptance(const std::string& dir, const Acceptance& acceptance) {
  const std::string earlier = accepted_loss(dir);
  PARKD_RETURN_IF_ERROR(note_loss(dir, (earlier.empty() ? "" : earlier + "; ") + acceptance.text));
  return remove(dir, kAcceptFile);
}

Status note_loss(const std::string& dir, const std::string& text) {
  return replace(dir, kAcceptedFile, text + "\n");
}

Status withdraw_acceptance(const std::string& dir) {
  return remove(dir, kAcceptFile);
}

std::string accepted_loss(const std::string& dir) {
  std::string text = read_text(dir + "/" + kAcceptedFile);
  while (text.ends_with('\n')) text.pop_back();
  return text;
}

Status acknowledge_loss(const std::string& dir) {
  return remove(dir, kAcceptedFile);
}

}  // namespace parkd::wal
