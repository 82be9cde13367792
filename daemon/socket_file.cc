#include "daemon/socket_file.h"

#include <grp.h>
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

struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

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

// Who would answer at the path: its process id, 0 where nobody does, -1 where that cannot be told.
pid_t listener_at(const std::string& path) {
  const Descriptor socket{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  if (socket.fd < 0) return -1;
  const sockaddr_un address = address_of(path);
  if (::connect(socket.fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return errno == ECONNREFUSED || errno == ENOENT ? 0 : -1;
  }
  ucred listener{};
  socklen_t size = sizeof listener;
  if (::getsockopt(socket.fd, SOL_SOCKET, SO_PEERCRED, &listener, &size) != 0) return -1;
  return listener.pid > 0 ? listener.pid : -1;  // 0: of another pid namespace
}

}  // namespace

bool SocketFile::is_as_made(const struct stat& now) const {
  return now.st_ino == made_.st_ino && now.st_dev == made_.st_dev &&
         now.st_ctim.tv_sec == made_.st_ctim.tv_sec && now.st_ctim.tv_nsec == made_.st_ctim.tv_nsec;
}

// A file system may give a removed file's inode to the next one, and an administrator may change
// the mode of ours: where anything differs, the file itself is asked.
SocketFile::Place SocketFile::look() {
  struct stat now {};
  if (::lstat(path_.c_str(), &now) != 0) return errno == ENOENT ? Place::free : Place::anothers;
  if (is_as_made(now)) return Place::ours;
  if (!S_ISSOCK(now.st_mode)) return Place::no_socket;
  const pid_t listener = listener_at(path_);
  if (listener == 0) return Place::free;
  if (listener != ::getpid()) return Place::anothers;
  made_ = now;
  return Place::ours;
}

Result<int> SocketFile::listen(std::chrono::milliseconds patience) {
  if (path_.size() >= sizeof(sockaddr_un::sun_path)) {
    return invalid_param("daemon.socket", "the socket's path " + path_ + " has " +
                                              std::to_string(path_.size()) +
                                              " bytes, the limit is 107");
  }
  const auto until = std::chrono::steady_clock::now() + patience;
  Place place = look();
  while (place == Place::anothers && std::chrono::steady_clock::now() < until) {
    std::this_thread::sleep_for(kLookEvery);
    place = look();
  }
  if (place == Place::no_socket) {
    return invalid_param("daemon.socket", path_ +
                                              " is there and is no socket: move it away, or "
                                              "give daemon.socket another path");
  }
  if (place == Place::anothers) {
    return Status(StatusCode::conflict,
                  "another process listens on daemon.socket " + path_ +
                      ", or lets nobody ask: stop it, or give this daemon a socket of its own")
        .with_param("daemon.socket");
  }
  return make();
}

Result<int> SocketFile::make() {
  Descriptor socket{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  if (socket.fd < 0) return invalid("cannot make a socket: " + text_of(errno));
  const auto failed = [this](const std::string& what) {
    return invalid_param("daemon.socket", what + " socket " + path_ + ": " + text_of(errno));
  };
  if (::unlink(path_.c_str()) != 0 && errno != ENOENT) return failed("cannot replace the dead");
  // The file takes the descriptor's mode: nobody else's until it is set. (The umask is all
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
                         named + " is no group of this machine: make it (groupadd --system " +
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
