// WebhookReceiver: an HTTP server on 127.0.0.1, plain or with TLS, that answers as it was told and
// remembers what came. It is a thread, and one for each connection; others may ask it at any time.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

struct ssl_ctx_st;

namespace parkd::testing {

// A certificate of an authority that is made for it. Files in `folder`: ca.pem, leaf.pem, leaf.key.
void make_certificate(const std::string& folder, const std::string& host);

class WebhookReceiver {
 public:
  struct Request {
    std::string target;
    std::map<std::string, std::string> headers;  // by names in lower case
    std::string body;
  };
  struct Reply {
    int status = 200;
    std::string headers{};  // lines with their ends
    std::string body{};
    bool hangs = false;          // says nothing
    bool hangs_in_body = false;  // says no more than the head
  };

  // Answers in their turn; the last one again and again. `certificates`: a folder of
  // make_certificate(); empty: plain HTTP.
  explicit WebhookReceiver(std::vector<Reply> replies = std::vector<Reply>(1),
                           const std::string& certificates = "");
  ~WebhookReceiver();  // ends what hangs

  uint16_t port() const { return port_; }
  std::string url(const std::string& host, const std::string& path) const;
  // The first n, when they have come; fewer after minutes.
  std::vector<Request> wait_for(size_t n);
  size_t n_requests();

 private:
  void accept_all();
  void serve(int fd);

  const std::vector<Reply> replies_;
  ssl_ctx_st* tls_ = nullptr;
  int listener_ = -1;
  uint16_t port_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Request> requests_;     // guarded by mutex_
  std::vector<int> connections_;      // guarded by mutex_
  std::vector<std::thread> threads_;  // guarded by mutex_
  bool stopping_ = false;             // guarded by mutex_
  std::thread acceptor_;
};

}  // namespace parkd::testing
