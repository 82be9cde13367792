#include "lib/http/tcp_socket.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

namespace parkd {
namespace {

union SocketAddress {
  sockaddr any;
  sockaddr_in v4;
  sockaddr_in6 v6;
};

SocketAddress socket_address(const TcpAddress& address) {
  SocketAddress to{};
  if (address.is_v6()) {
    to.v6.sin6_family = AF_INET6;
    to.v6.sin6_port = htons(address.port);
    ::inet_pton(AF_INET6, address.ip.c_str(), &to.v6.sin6_addr);
  } else {
    to.v4.sin_family = AF_INET;
    to.v4.sin_port = htons(address.port);
    ::inet_pton(AF_INET, address.ip.c_str(), &to.v4.sin_addr);
  }
  return to;
}

std::string way_out(int error) {
  switch (error) {
    case EADDRINUSE:
      return ": another process listens there (ss -ltnp shows which): stop it, or choose another "
             "port";
    case EADDRNOTAVAIL:
      return ": no interface of this machine has the address (ip addr shows those there are)";
    case EACCES:
      return ": ports below 1024 need CAP_NET_BIND_SERVICE: choose one above";
    case EAFNOSUPPORT:
      return ": this process may have no sockets of that kind; under systemd the unit says so "
             "until "
             "the drop-in tcp.conf is installed (README, \"TCP\")";
    default:
      return "";
  }
}

void set_option(int fd, int level, int name, int value) {
  ::setsockopt(fd, level, name, &value, sizeof value);
}

}  // namespace

Result<int> listen_tcp(const TcpAddress& address) {
  const auto failed = [&address](const char* call) {
    const int error = errno;
    const std::string why = "cannot listen on " + address.to_string() +
                            " (daemon.listen): " + call + ": " + std::strerror(error) +
                            way_out(error);
    return error == EADDRINUSE ? conflict(why) : invalid(why);
  };
  const int family = address.is_v6() ? AF_INET6 : AF_INET;
  const int fd = ::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return failed("socket");
  // Connections of a daemon that has just stopped may linger on the address.
  set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  if (family == AF_INET6) set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
  const SocketAddress to = socket_address(address);
  const socklen_t size = family == AF_INET6 ? sizeof to.v6 : sizeof to.v4;
  const char* call = ::bind(fd, &to.any, size) != 0 ? "bind"
                     : ::listen(fd, SOMAXCONN) != 0 ? "listen"
                                                    : nullptr;
  if (call == nullptr) return fd;
  const Status why = failed(call);
  ::close(fd);
  return why;
}

TcpAddress bound_address(int fd) {
  SocketAddress at{};
  socklen_t size = sizeof at;
  char text[INET6_ADDRSTRLEN] = "";
  if (::getsockname(fd, &at.any, &size) != 0) return {};
  if (at.any.sa_family == AF_INET6) {
    ::inet_ntop(AF_INET6, &at.v6.sin6_addr, text, sizeof text);
    return {text, ntohs(at.v6.sin6_port)};
  }
  ::inet_ntop(AF_INET, &at.v4.sin_addr, text, sizeof text);
  return {text, ntohs(at.v4.sin_port)};
}

void keep_tcp_connection(int fd) {
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, 60);
  set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, 15);
  set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 4);
}

}  // namespace parkd
