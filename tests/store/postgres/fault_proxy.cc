#include "tests/store/postgres/fault_proxy.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <thread>
#include <vector>

namespace parkd {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr int kTickMs = 5;  // orders and delayed pieces are looked at so often

// ReadyForQuery, the end of every answer; a byte with the state of the transaction follows.
constexpr std::string_view kReady("Z\0\0\0\5", 5);
constexpr size_t kReadyBytes = kReady.size() + 1;

uint32_t big_endian(const char* bytes) {
  uint32_t value = 0;
  std::memcpy(&value, bytes, sizeof value);
  return ntohl(value);
}

int connect_to(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) throw std::runtime_error(path + " is too long");
  std::copy(path.begin(), path.end(), address.sun_path);
  const int server = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (::connect(server, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    ::close(server);
    return -1;
  }
  return server;
}

// Ends a TCP connection with RST instead of FIN.
void reset_and_close(int socket) {
  const linger hard = {1, 0};
  ::setsockopt(socket, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
  ::close(socket);
}

}  // namespace

Proxy::Proxy(std::string server_socket) : server_socket_(std::move(server_socket)) {
  listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (::bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      ::listen(listener_, 128) != 0 ||
      ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    throw std::runtime_error("the proxy gets no port on 127.0.0.1");
  }
  port_ = ntohs(address.sin_port);
  thread_ = Thread({"pg-proxy", 0}, [this] { run(); });
}

Proxy::~Proxy() {
  stopping_ = true;
  thread_.join();
  for (Link& link : links_) close_hard(link);
  ::close(listener_);
}

std::string Proxy::dsn(const std::string& database) const {
  return "host=127.0.0.1 port=" + std::to_string(port_) +
         " sslmode=disable gssencmode=disable dbname=" + database;
}

void Proxy::silence() {
  silence_now_ = true;
  while (silence_now_) std::this_thread::sleep_for(milliseconds(1));
}

void Proxy::reset() {
  reset_now_ = true;
  while (reset_now_) std::this_thread::sleep_for(milliseconds(1));
}

void Proxy::cut(const std::string& request, Cut where, int n) {
  const std::lock_guard lock(mutex_);
  orders_.push_back({request, where, n});
}

std::optional<Proxy::Cut> Proxy::order_for(const std::string& request) {
  const std::lock_guard lock(mutex_);
  for (auto order = orders_.begin(); order != orders_.end(); ++order) {
    const bool sets_up = request == "SET" || request == "LISTEN";
    if (order->request.empty() ? sets_up : order->request != request) continue;
    const Cut where = order->where;
    if (--order->n == 0) orders_.erase(order);
    ++n_cut_;
    return where;
  }
  return std::nullopt;
}

void Proxy::run() {
  while (!stopping_) {
    if (silence_now_) {
      for (Link& link : links_) link.silent = true;
      silence_now_ = false;
    }
    if (reset_now_) {
      for (Link& link : links_) close_hard(link);
      links_.clear();
      reset_now_ = false;
    }
    std::vector<pollfd> polled = {{listener_, POLLIN, 0}};
    for (const Link& link : links_) {
      const short events = link.silent ? short{0} : short{POLLIN};
      polled.push_back({link.silent ? -1 : link.client, events, 0});
      polled.push_back({link.silent ? -1 : link.server, events, 0});
    }
    ::poll(polled.data(), polled.size(), kTickMs);
    size_t at = 1;
    for (auto link = links_.begin(); link != links_.end(); at += 2) {
      if (serve(*link, polled[at].revents, polled[at + 1].revents)) {
        ++link;
      } else {
        close_hard(*link);
        link = links_.erase(link);
      }
    }
    if (polled[0].revents != 0) accept_one();
  }
}

void Proxy::accept_one() {
  Link link;
  link.client = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
  if (link.client < 0) return;
  link.server = connect_to(server_socket_);
  if (link.server < 0) {
    reset_and_close(link.client);
    return;
  }
  const int on = 1;
  ::setsockopt(link.client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  links_.push_back(std::move(link));
}

bool Proxy::serve(Link& link, short client_events, short server_events) {
  if (link.silent) return true;
  if (client_events != 0 && !from_client(link)) return false;
  if (server_events != 0 && !from_server(link)) return false;
  return flush(link.to_server, link.server) && flush(link.to_client, link.client);
}

bool Proxy::flush(std::list<Piece>& pieces, int to) {
  while (!pieces.empty() && pieces.front().due <= steady_clock::now()) {
    const std::string& bytes = pieces.front().bytes;
    size_t sent = 0;
    while (sent < bytes.size()) {
      const ssize_t n = ::send(to, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
      if (n <= 0) return false;
      sent += static_cast<size_t>(n);
    }
    pieces.pop_front();
  }
  return true;
}

// Whole messages are passed on; the end of a request is where an order strikes.
bool Proxy::from_client(Link& link) {
  char bytes[65536];
  const ssize_t n = ::recv(link.client, bytes, sizeof bytes, 0);
  if (n <= 0) return false;
  if (link.being_cut) return true;  // nothing after the request that is cut
  link.request.append(bytes, static_cast<size_t>(n));
  std::string whole;
  for (;;) {
    const size_t header = link.started ? 5 : 4;
    if (link.request.size() < header) break;
    const size_t length = big_endian(link.request.data() + header - 4) + header - 4;
    if (link.request.size() < length) break;
    if (link.started) {
      look_at(link, link.request[0], link.request.substr(header, length - header));
    }
    link.started = true;
    if (link.being_cut == Cut::unsent) return false;
    if (link.being_cut == Cut::unheard) {
      link.silent = true;
      return true;
    }
    whole.append(link.request, 0, length);
    link.request.erase(0, length);
    if (link.being_cut) break;
  }
  const auto due = steady_clock::now() + milliseconds(delay_ms_);
  if (!whole.empty()) link.to_server.push_back({due, std::move(whole)});
  if (link.being_cut != Cut::in_flight) return true;
  for (Piece& piece : link.to_server) piece.due = {};
  flush(link.to_server, link.server);
  return false;
}

void Proxy::look_at(Link& link, char type, const std::string& body) {
  if (type == 'B') {  // Bind: portal, statement
    const size_t statement = body.find('\0') + 1;
    link.name = body.substr(statement, body.find('\0', statement) - statement);
  } else if (type == 'Q') {
    link.name = body.substr(0, body.find_first_of(" ;\n\0", 0, 4));
  }
  if (type != 'Q' && type != 'S') return;
  // Parse and Sync without Bind have no name.
  if (!link.name.empty()) link.being_cut = order_for(link.name);
  link.name.clear();
}

bool Proxy::from_server(Link& link) {
  char bytes[65536];
  const ssize_t n = ::recv(link.server, bytes, sizeof bytes, 0);
  if (n <= 0) return false;
  const std::string_view answer(bytes, static_cast<size_t>(n));
  if (link.being_cut) {
    link.answer_tail.append(answer);
    if (link.answer_tail.size() > kReadyBytes) {
      link.answer_tail.erase(0, link.answer_tail.size() - kReadyBytes);
    }
    return link.answer_tail.compare(0, kReady.size(), kReady) != 0;
  }
  link.to_client.push_back({steady_clock::now() + milliseconds(delay_ms_), std::string(answer)});
  return true;
}

void Proxy::close_hard(Link& link) {
  reset_and_close(link.client);
  ::close(link.server);
}

}  // namespace parkd
