#include "tools/bench/peers.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <utility>

#include "lib/base/check.h"

namespace parkd::bench {
namespace {

constexpr int kSilenceMaxMs = 600'000;
constexpr std::string_view kLastChunk = "\r\n0\r\n\r\n";

int connect_to(const std::string& path) {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  PARKD_CHECK(fd >= 0, std::string("socket: ") + std::strerror(errno));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
  PARKD_CHECK(::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0,
              path + ": " + std::strerror(errno));
  return fd;
}

}  // namespace

Peers::Peers(std::string socket)
    : socket_(std::move(socket)), epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
  PARKD_CHECK(epoll_ >= 0, "epoll_create1");
}

Peers::~Peers() {
  for (const Peer& peer : peers_) ::close(peer.fd);
  ::close(epoll_);
}

void Peers::connect(size_t n) {
  while (peers_.size() < n) {
    Peer peer;
    peer.fd = connect_to(socket_);
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = peers_.size();
    PARKD_CHECK(::epoll_ctl(epoll_, EPOLL_CTL_ADD, peer.fd, &event) == 0, "epoll_ctl");
    peers_.push_back(std::move(peer));
  }
}

void Peers::send(size_t peer, const std::string& request) {
  Peer& to = peers_[peer];
  PARKD_CHECK(to.is_whole, "a peer has one request at a time");
  to.is_whole = false;
  to.head_bytes = 0;
  to.whole_bytes = 0;
  to.answer = {};
  for (size_t sent = 0; sent < request.size();) {
    const ssize_t n = ::send(to.fd, request.data() + sent, request.size() - sent, MSG_NOSIGNAL);
    if (n <= 0) break;  // refused: the reason is there to be read
    sent += static_cast<size_t>(n);
  }
}

void Peers::read_all() {
  read_until(false);
}

void Peers::read_heads() {
  read_until(true);
}

void Peers::read_until(bool heads_do) {
  const auto waits = [&](const Peer& peer) {
    return !peer.is_whole && !(heads_do && peer.head_bytes > 0);
  };
  size_t n_waiting = 0;
  for (const Peer& peer : peers_) n_waiting += waits(peer);
  std::array<epoll_event, 256> events{};
  while (n_waiting > 0) {
    const int n = ::epoll_wait(epoll_, events.data(), events.size(), kSilenceMaxMs);
    PARKD_CHECK(n > 0, "parkd was silent for ten minutes");
    for (int i = 0; i < n; ++i) {
      Peer& peer = peers_[events[static_cast<size_t>(i)].data.u64];
      const bool waited = waits(peer);
      read_some(peer);
      n_waiting -= waited && !waits(peer);
    }
  }
}

void Peers::read_some(Peer& peer) {
  std::array<char, 65536> buffer;  // NOLINT(cppcoreguidelines-pro-type-member-init)
  const ssize_t n = ::recv(peer.fd, buffer.data(), buffer.size(), MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  PARKD_CHECK(n > 0 && !peer.is_whole, "parkd closed a connection: " + peer.answer.text);
  std::string& text = peer.answer.text;
  text.append(buffer.data(), static_cast<size_t>(n));
  if (peer.head_bytes == 0) {
    const size_t end = text.find("\r\n\r\n");
    if (end == text.npos) return;
    peer.head_bytes = end + 4;
    peer.answer.status = std::atoi(text.c_str() + std::strlen("HTTP/1.1 "));
    const size_t at = text.find("Content-Length: ");
    if (at < end) {
      peer.whole_bytes = peer.head_bytes + std::strtoull(text.c_str() + at + 16, nullptr, 10);
    }
  }
  peer.is_whole = is_whole(peer);
  PARKD_CHECK(!peer.is_whole || peer.answer.status < 300, "refused: " + text);
}

bool Peers::is_whole(const Peer& peer) {
  const std::string& text = peer.answer.text;
  return peer.whole_bytes > 0 ? text.size() >= peer.whole_bytes
                              : std::string_view(text).ends_with(kLastChunk);
}

std::string http_get(const std::string& target) {
  return "GET " + target + " HTTP/1.1\r\nHost: parkd\r\n\r\n";
}

std::string http_post(const std::string& target, const std::string& json) {
  return "POST " + target + " HTTP/1.1\r\nHost: parkd\r\nContent-Type: application/json\r\n" +
         "Content-Length: " + std::to_string(json.size()) + "\r\n\r\n" + json;
}

int64_t last_number(const Peers::Answer& answer, const std::string& name) {
  const std::string key = "\"" + name + "\":";
  const size_t at = answer.text.rfind(key);
  PARKD_CHECK(at != answer.text.npos, "no " + name + " in: " + answer.text);
  return std::strtoll(answer.text.c_str() + at + key.size(), nullptr, 10);
}

size_t count_events(const Peers::Answer& answer) {
  size_t n = 0;
  constexpr std::string_view kData = "\ndata: ";
  for (size_t at = 0; (at = answer.text.find(kData, at)) != answer.text.npos; ++n) {
    at += kData.size();
  }
  return n;
}

}  // namespace parkd::bench
