// WebhookSender: POSTs to receivers that are not trusted, many at a time, on the thread that calls
// wait() (libcurl's multi interface). Each is bounded: its time, and 64 KiB of an answer.
// Certificates and their hosts are verified; no redirect is followed, no proxy, user or cookie of
// the environment is used, and no connection or name is kept for another. The very address that is
// connected to is looked at, so that no name leads into a network that is not the receiver's.
//
// Owner: one thread; wake() may be called from any.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lib/config/webhook_url.h"

namespace parkd {

struct WebhookPost {
  std::string name;  // as the answer has it again
  WebhookUrl url;
  bool may_be_loopback = false;      // addresses of this machine
  bool may_be_local = false;         // and of its network
  std::string ca_file;               // empty: the system's
  std::vector<std::string> headers;  // "name: value"
  std::string body;
};

struct WebhookAnswer {
  std::string name;
  int status = 0;                       // of HTTP; 0: there was no answer
  std::string error;                    // why there was none
  std::chrono::seconds retry_after{0};  // as the receiver asked; 0: it did not
};

class WebhookSender {
 public:
  struct Limits {
    std::chrono::milliseconds connect{5000};
    std::chrono::milliseconds whole{15'000};
  };
  WebhookSender() : WebhookSender(Limits()) {}
  explicit WebhookSender(Limits limits);
  ~WebhookSender();
  WebhookSender(const WebhookSender&) = delete;
  WebhookSender& operator=(const WebhookSender&) = delete;

  void begin(WebhookPost post);
  size_t n_open() const { return open_.size(); }
  // Those that came to an end. Returns when there are some, when `longest` has passed or at wake().
  std::vector<WebhookAnswer> wait(std::chrono::milliseconds longest);
  // The call of wait() that runs, or the next one, returns soon.
  void wake();

 private:
  struct Transfer;
  struct Curl;  // the handles, whose types are libcurl's
  WebhookAnswer answer_of(Transfer& transfer, int code) const;

  const Limits limits_;
  std::unique_ptr<Curl> curl_;
  std::map<void*, std::unique_ptr<Transfer>> open_;  // by libcurl's handle
};

}  // namespace parkd
