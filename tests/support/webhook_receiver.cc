#include "tests/support/webhook_receiver.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>

#include "lib/base/check.h"

namespace parkd::testing {
namespace {

// One connection, plain or with TLS.
class Peer {
 public:
  Peer(int fd, SSL_CTX* tls) : fd_(fd) {
    if (tls == nullptr) return;
    ssl_ = SSL_new(tls);
    SSL_set_fd(ssl_, fd);
    is_open_ = SSL_accept(ssl_) == 1;
  }
  ~Peer() {
    if (ssl_ != nullptr) {
      if (is_open_) SSL_shutdown(ssl_);
      SSL_free(ssl_);
      ERR_clear_error();
    }
  }
  bool is_open() const { return is_open_; }
  // What has come; empty: no more comes.
  std::string read() {
    char bytes[4096];
    const auto n = ssl_ != nullptr ? SSL_read(ssl_, bytes, sizeof bytes)
                                   : static_cast<int>(::recv(fd_, bytes, sizeof bytes, 0));
    return n > 0 ? std::string(bytes, static_cast<size_t>(n)) : "";
  }
  void write(std::string_view text) {
    while (!text.empty()) {
      const auto n = ssl_ != nullptr
                         ? SSL_write(ssl_, text.data(), static_cast<int>(text.size()))
                         : static_cast<int>(::send(fd_, text.data(), text.size(), MSG_NOSIGNAL));
      if (n <= 0) return;
      text.remove_prefix(static_cast<size_t>(n));
    }
  }

 private:
  const int fd_;
  SSL* ssl_ = nullptr;
  bool is_open_ = true;
};

WebhookReceiver::Request read_request(Peer& peer) {
  std::string bytes;
  WebhookReceiver::Request request;
  size_t head = 0;
  while ((head = bytes.find("\r\n\r\n")) == bytes.npos) {
    const std::string more = peer.read();
    if (more.empty()) return {};
    bytes += more;
  }
  const size_t first = bytes.find(' ');
  request.target = bytes.substr(first + 1, bytes.find(' ', first + 1) - first - 1);
  for (size_t at = bytes.find("\r\n") + 2; at < head;) {
    const size_t end = bytes.find("\r\n", at);
    const size_t colon = bytes.find(": ", at);
    std::string name = bytes.substr(at, colon - at);
    std::transform(name.begin(), name.end(), name.begin(), ::tolower);
    request.headers[name] = bytes.substr(colon + 2, end - colon - 2);
    at = end + 2;
  }
  const std::string length = request.headers["content-length"];
  const size_t size = length.empty() ? 0 : std::stoul(length);
  request.body = bytes.substr(head + 4);
  while (request.body.size() < size) {
    const std::string more = peer.read();
    if (more.empty()) return {};
    request.body += more;
  }
  return request;
}

}  // namespace

void make_certificate(const std::string& folder, const std::string& host) {
  const std::string key = " -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 ";
  const std::string command =
      "cd " + folder + " && (openssl req -x509" + key +
      "-keyout ca.key -out ca.pem -subj /CN=authority && openssl req -x509" + key +
      "-keyout leaf.key -out leaf.pem -subj /CN=receiver -CA ca.pem -CAkey ca.key "
      "-addext basicConstraints=critical,CA:FALSE -addext subjectAltName=" +
      host + ") >openssl.log 2>&1";
  PARKD_CHECK(std::system(command.c_str()) == 0, "openssl makes certificates");
}

WebhookReceiver::WebhookReceiver(std::vector<Reply> replies, const std::string& certificates)
    : replies_(std::move(replies)), listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  if (!certificates.empty()) {
    tls_ = SSL_CTX_new(TLS_server_method());
    const std::string leaf = certificates + "/leaf.pem";
    const std::string key = certificates + "/leaf.key";
    PARKD_CHECK(SSL_CTX_use_certificate_file(tls_, leaf.c_str(), SSL_FILETYPE_PEM) == 1 &&
                    SSL_CTX_use_PrivateKey_file(tls_, key.c_str(), SSL_FILETYPE_PEM) == 1,
                "the receiver's certificate is read");
  }
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* at = reinterpret_cast<sockaddr*>(&address);
  PARKD_CHECK(::bind(listener_, at, size) == 0 && ::listen(listener_, 64) == 0 &&
                  ::getsockname(listener_, at, &size) == 0,
              "a socket listens");
  port_ = ntohs(address.sin_port);
  acceptor_ = std::thread([this] { accept_all(); });
}

WebhookReceiver::~WebhookReceiver() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    for (const int fd : connections_) ::shutdown(fd, SHUT_RDWR);
  }
  changed_.notify_all();
  ::shutdown(listener_, SHUT_RDWR);
  acceptor_.join();
  for (std::thread& thread : threads_) thread.join();
  for (const int fd : connections_) ::close(fd);
  ::close(listener_);
  SSL_CTX_free(tls_);
}

std::string WebhookReceiver::url(const std::string& host, const std::string& path) const {
  return (tls_ == nullptr ? "http://" : "https://") + host + ":" + std::to_string(port_) + path;
}

std::vector<WebhookReceiver::Request> WebhookReceiver::wait_for(size_t n) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, std::chrono::minutes(5), [&] { return requests_.size() >= n; });
  return requests_;
}

size_t WebhookReceiver::n_requests() {
  const std::lock_guard lock(mutex_);
  return requests_.size();
}

void WebhookReceiver::accept_all() {
  for (;;) {
    const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) return;
    const std::lock_guard lock(mutex_);
    connections_.push_back(fd);  // closed at the end, so that no other gets its number
    if (stopping_) ::shutdown(fd, SHUT_RDWR);
    threads_.emplace_back([this, fd] { serve(fd); });
  }
}

void WebhookReceiver::serve(int fd) {
  {
    Peer peer(fd, tls_);
    if (!peer.is_open()) return;
    Request request = read_request(peer);
    if (request.target.empty()) return;
    std::unique_lock lock(mutex_);
    const Reply reply = replies_[std::min(requests_.size(), replies_.size() - 1)];
    requests_.push_back(std::move(request));
    changed_.notify_all();
    const auto hang = [&] { changed_.wait(lock, [this] { return stopping_; }); };
    if (reply.hangs) return hang();
    lock.unlock();
    peer.write("HTTP/1.1 " + std::to_string(reply.status) + " said\r\n" + reply.headers +
               "Content-Length: " + std::to_string(reply.body.size()) + "\r\n\r\n");
    if (reply.hangs_in_body) {
      lock.lock();
      return hang();
    }
    peer.write(reply.body);
  }
  ::shutdown(fd, SHUT_RDWR);
}

}  // namespace parkd::testing
