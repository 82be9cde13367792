#include "lib/http/socket_file.h"

#include <fcntl.h>
#include <grp.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace parkd {
namespace {

constexpr auto kLookEvery = std::chrono::milliseconds(20);

std::string text_of(int error) {
  return std::generic_category().message(error);
}

sockaddr_un address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.c_str(), path.size());
  return address;
}

std::optional<gid_t> find_group(const std::string& group) {
  if (group.find_first_not_of("0123456789") == std::string::npos && group.size() <= 10) {
    const unsigned long long number = std::stoull(group);
    if (number < static_cast<gid_t>(-1)) return static_cast<gid_t>(number);
    return std::nullopt;
  }
  std::vector<char> buffer(64 << 10);
  struct ::group entry {};
  struct ::group* found = nullptr;
  while (::getgrnam_r(group.c_str(), &entry, buffer.data(), buffer.size(), &found) == ERANGE &&
         buffer.size() < (16u << 20)) {
    buffer.resize(buffer.size() * 2);  // a group of many members
  }
  return found == nullptr ? std::nullopt : std::optional<gid_t>(found->gr_gid);
}

}  // namespace

SocketFile::Descriptor::~Descriptor() {
  if (fd >= 0) ::close(fd);
}

bool SocketFile::is_as_made(const struct stat& now) const {
  return now.st_ino == made_.st_ino && now.st_dev == made_.st_dev &&
         now.st_ctim.tv_sec == made_.st_ctim.tv_sec && now.st_ctim.tv_nsec == made_.st_ctim.tv_nsec;
}

// Who would answer at the path: its process id, 0 where no process does, -1 where that cannot be
// told.
pid_t SocketFile::listener() const {
  const Descriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (socket.fd < 0) return -1;
  const sockaddr_un address = address_of(path_);
  if (::connect(socket.fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return errno == ECONNREFUSED || errno == ENOENT ? 0 : -1;
  }
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(socket.fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return -1;
  return peer.pid > 0 ? peer.pid : -1;  // 0: of another pid namespace
}

// A file system may give a removed file's inode to the next one, and an administrator may change
// the mode of ours: where anything differs, the file itself is asked.
SocketFile::Place SocketFile::look() {
  struct stat now {};
  if (::lstat(path_.c_str(), &now) != 0) return errno == ENOENT ? Place::free : Place::anothers;
  if (is_as_made(now)) return Place::ours;
  if (!S_ISSOCK(now.st_mode)) return Place::no_socket;
  const pid_t who = listener();
  if (who == 0) return Place::free;
  if (who != ::getpid()) return Place::anothers;
  made_ = now;
  return Place::ours;
}

// Between a look at the path and the making of a socket there another daemon could do the same: who
// starts takes the lock beside it meanwhile. The file stays; to remove it would be a race of its
// own.
Result<SocketFile::Descriptor> SocketFile::take_turn(
    std::chrono::steady_clock::time_point until) const {
  const std::string path = path_ + ".lock";
  Descriptor lock(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (lock.fd < 0) {
    return invalid_param("daemon.socket", "cannot make " + path + ": " + text_of(errno));
  }
  while (::flock(lock.fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) {
      return invalid_param("daemon.socket", "cannot lock " + path + ": " + text_of(errno));
    }
    if (std::chrono::steady_clock::now() >= until) {
      return Status(StatusCode::conflict, "another process is making the socket " + path_ +
                                              " (it holds " + path +
                                              "): stop it, or give this daemon a socket of its own")
          .with_param("daemon.socket");
    }
    std::this_thread::sleep_for(kLookEvery);
  }
  return lock;
}

Result<int> SocketFile::listen(std::chrono::milliseconds patience) {
  if (path_.size() >= sizeof(sockaddr_un::sun_path)) {
    return invalid_param("daemon.socket", "the socket's path " + path_ + " has " +
                                              std::to_string(path_.size()) +
                                              " bytes, the limit is 107");
  }
  const auto until = std::chrono::steady_clock::now() + patience;
  PARKD_ASSIGN_OR_RETURN(const Descriptor turn, take_turn(until));
  Place place = look();
  while (place == Place::anothers && std::chrono::steady_clock::now() < until) {
    std::this_thread::sleep_for(kLookEvery);
    place = look();
  }
  if (place == Place::no_socket) {
    return invalid_param("daemon.socket", path_ +
                                              " is there and is not a socket: move it away, or "
                                              "give daemon.socket another path");
  }
  if (place == Place::anothers) {
    return Status(StatusCode::conflict, "another process listens on daemon.socket " + path_ +
                                            ", or does not let itself be asked: stop it, or give "
                                            "this daemon a socket of its own")
        .with_param("daemon.socket");
  }
  return make();
}

Result<int> SocketFile::make() {
  Descriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (socket.fd < 0) return invalid("cannot make a socket: " + text_of(errno));
  const auto failed = [this](const std::string& what) {
    return invalid_param("daemon.socket", what + " socket " + path_ + ": " + text_of(errno));
  };
  if (::unlink(path_.c_str()) != 0 && errno != ENOENT) return failed("cannot replace the dead");
  // The file takes the descriptor's mode: the owner's alone until it is set. (The umask is all
  // threads', and others are making files.)
  if (::fchmod(socket.fd, 0600) != 0) return failed("cannot set the mode of");
  const sockaddr_un address = address_of(path_);
  if (::bind(socket.fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return failed("cannot bind");
  }
  if (Status opened = give_to_group(); !opened.ok()) {
    ::unlink(path_.c_str());
    return opened;
  }
  if (::chmod(path_.c_str(), mode_) != 0) return failed("cannot set the mode of");
  if (::listen(socket.fd, SOMAXCONN) != 0) return failed("cannot listen on");
  if (::lstat(path_.c_str(), &made_) != 0) return failed("cannot look at");
  return std::exchange(socket.fd, -1);
}

Status SocketFile::give_to_group() {
  if (group_.empty()) return {};
  const std::string named = "daemon.socket_group: value \"" + group_ + "\"";
  if (!gid_) gid_ = find_group(group_);
  if (!gid_) {
    return invalid_param("daemon.socket_group",
                         named + " is not a group of this machine: make it (groupadd --system " +
                             group_ +
                             "; systemd-sysusers makes parkd-clients), or leave the key out");
  }
  if (::lchown(path_.c_str(), static_cast<uid_t>(-1), *gid_) == 0) return {};
  if (errno != EPERM) {
    return invalid_param("daemon.socket_group", named + ": " + text_of(errno));
  }
  return invalid_param(
      "daemon.socket_group",
      named + " is a group that parkd (uid " + std::to_string(::geteuid()) +
          ") is not in, so it cannot give it the socket: put SupplementaryGroups=" + group_ +
          " into the unit (systemctl edit parkd), or usermod -aG " + group_ +
          " the user that starts parkd");
}

void SocketFile::remove() {
  if (look() == Place::ours) ::unlink(path_.c_str());
}

}  // namespace parkd
