#include "lib/http/pending_answer.h"

#include <boost/asio/dispatch.hpp>
#include <boost/asio/post.hpp>
#include <exception>
#include <new>
#include <utility>

#include "lib/http/http_session.h"

namespace parkd {

namespace asio = boost::asio;

// Lets go of the session when it is run, or dropped with the io_context. Not where there was no
// memory to post it: better a connection that stays than one that ends on another thread.
class PendingAnswer::Later {
 public:
  explicit Later(std::shared_ptr<HttpSession>* session) : session_(session) {}
  Later(Later&& other) noexcept : session_(std::exchange(other.session_, nullptr)) {}
  ~Later() {
    if (std::uncaught_exceptions() == 0) delete session_;
  }
  void operator()() const {}

 private:
  std::shared_ptr<HttpSession>* session_;
};

PendingAnswer::PendingAnswer(const std::shared_ptr<HttpSession>& session)
    : io_(session->io()), session_(new std::shared_ptr<HttpSession>(session)) {}

PendingAnswer::~PendingAnswer() {
  try {
    asio::post(io_, Later(session_));
  } catch (const std::bad_alloc&) {
    // As above.
  }
}

void PendingAnswer::write(HttpReply reply) {
  if (written_.exchange(true)) return;
  asio::dispatch(io_, [session = *session_, reply = std::move(reply)]() mutable {
    session->write(std::move(reply));
  });
}

}  // namespace parkd
