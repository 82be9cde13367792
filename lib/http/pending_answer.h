// PendingAnswer: what the replier of a request that has begun holds. It may be called and let go of
// on any thread, its session only on the control thread. It keeps the session alive.
#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <memory>

#include "lib/http/http_reply.h"

namespace parkd {

class HttpSession;

class PendingAnswer {
 public:
  explicit PendingAnswer(const std::shared_ptr<HttpSession>& session);
  ~PendingAnswer();
  PendingAnswer(const PendingAnswer&) = delete;
  PendingAnswer& operator=(const PendingAnswer&) = delete;

  // The first answer is written, further ones are not.
  void write(HttpReply reply);

 private:
  class Later;

  boost::asio::io_context& io_;
  std::shared_ptr<HttpSession>* const session_;  // deleted on the control thread
  std::atomic<bool> written_{false};
};

}  // namespace parkd
