#include "daemon/sd_notify.h"

#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "lib/base/log.h"

namespace parkd {

void sd_notify(std::string_view state) {
  const char* path = std::getenv("NOTIFY_SOCKET");
  sockaddr_un address{};
  if (path == nullptr || std::strlen(path) == 0 || std::strlen(path) >= sizeof address.sun_path) {
    return;
  }
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path, std::strlen(path));
  if (address.sun_path[0] == '@') address.sun_path[0] = '\0';  // abstract namespace
  const int fd = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return;
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + std::strlen(path));
  // A manager that does not read must not stop the control thread: the next WATCHDOG=1 comes soon,
  // and the words that come once wait a second at most.
  const bool may_be_lost = state.rfind("WATCHDOG=", 0) == 0;
  const timeval patience{1, 0};
  ::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  if (::sendto(fd, state.data(), state.size(), MSG_NOSIGNAL | (may_be_lost ? MSG_DONTWAIT : 0),
               reinterpret_cast<const sockaddr*>(&address), length) < 0) {
    log_warn("systemd.notify_failed", {{"state", state}, {"error", std::strerror(errno)}});
  }
  ::close(fd);
}

std::optional<std::chrono::microseconds> watchdog_interval() {
  const char* text = std::getenv("WATCHDOG_USEC");
  if (text == nullptr || std::atoll(text) <= 0) return std::nullopt;
  // Meant for another process that left us its environment (sd_watchdog_enabled(3)).
  const char* pid = std::getenv("WATCHDOG_PID");
  if (pid != nullptr && std::atoll(pid) != ::getpid()) return std::nullopt;
  return std::chrono::microseconds(std::atoll(text));
}

}  // namespace parkd
