// RawPeer: a connection to the API, on its socket or by TCP, that sends whatever a test likes, byte
// for byte.
//
// One thread. Header-only, so that forked children of other users need nothing but it.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

namespace parkd::testing {

struct RawAnswer {
  int status = 0;  // 0: the connection ended, or nothing came within minutes
  std::string head;
  std::string body;
};

class RawPeer {
 public:
  explicit RawPeer(const std::string& path)
      : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    connected_ = ::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  }
  // By TCP, on 127.0.0.1 or ::1.
  explicit RawPeer(uint16_t port, bool is_v6)
      : fd_(::socket(is_v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in v4{};
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    sockaddr_in6 v6{};
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(port);
    v6.sin6_addr = in6addr_loopback;
    const auto* address =
        is_v6 ? reinterpret_cast<sockaddr*>(&v6) : reinterpret_cast<sockaddr*>(&v4);
    connected_ = ::connect(fd_, address, is_v6 ? sizeof v6 : sizeof v4) == 0;
  }
  ~RawPeer() { close(); }
  RawPeer(RawPeer&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)), connected_(other.connected_), rest_(other.rest_) {}
  RawPeer(const RawPeer&) = delete;
  RawPeer& operator=(const RawPeer&) = delete;

  bool connected() const { return connected_; }
  int fd() const { return fd_; }
  void close() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }

  void end_sending() { ::shutdown(fd_, SHUT_WR); }

  // Whether all of it could be sent.
  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) return false;
      bytes.remove_prefix(static_cast<size_t>(n));
    }
    return true;
  }

  // The next answer of the connection. `has_body` false: of a HEAD.
  RawAnswer read(bool has_body = true) {
    RawAnswer answer;
    size_t end = 0;
    while ((end = rest_.find("\r\n\r\n")) == rest_.npos) {
      if (!fill()) return answer;
    }
    answer.head = rest_.substr(0, end + 4);
    rest_.erase(0, end + 4);
    const size_t at = answer.head.find("Content-Length: ");
    const size_t length =
        at == answer.head.npos || !has_body
            ? 0
            : static_cast<size_t>(std::strtoull(answer.head.c_str() + at + 16, nullptr, 10));
    while (rest_.size() < length) {
      if (!fill()) return answer;
    }
    answer.body = rest_.substr(0, length);
    rest_.erase(0, length);
    if (answer.head.size() > 12) answer.status = std::atoi(answer.head.c_str() + 9);
    return answer;
  }

  // The head of an answer whose body is read by read_some().
  RawAnswer read_head() { return read(false); }
  // What comes next, at least a byte; empty: the connection ended.
  std::string read_some() {
    if (rest_.empty() && !fill()) return {};
    return std::exchange(rest_, {});
  }

  RawAnswer call(std::string_view method, std::string_view target, std::string_view body = {},
                 std::string_view more_header = {}) {
    send(request(method, target, body, more_header));
    return read(method != "HEAD");
  }

  static std::string request(std::string_view method, std::string_view target,
                             std::string_view body = {}, std::string_view more_header = {}) {
    std::string text = std::string(method) + " " + std::string(target) + " HTTP/1.1\r\nHost: p\r\n";
    text += more_header;
    if (!body.empty()) text += "Content-Length: " + std::to_string(body.size()) + "\r\n";
    return text + "\r\n" + std::string(body);
  }

  // Whether the daemon has closed its side.
  bool ended() {
    char byte = 0;
    return ::recv(fd_, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
  }

 private:
  bool fill() {
    constexpr int kHungMs = 300'000;
    pollfd wait{fd_, POLLIN, 0};
    if (::poll(&wait, 1, kHungMs) <= 0) return false;
    char buffer[65536];
    const ssize_t n = ::recv(fd_, buffer, sizeof buffer, 0);
    if (n <= 0) return false;
    rest_.append(buffer, static_cast<size_t>(n));
    return true;
  }

  int fd_;
  bool connected_ = false;
  std::string rest_;
};

}  // namespace parkd::testing
