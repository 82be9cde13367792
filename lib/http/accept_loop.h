// AcceptLoop: takes connections in off a listening socket until it is closed. Control thread; its
// pending operation keeps it alive.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <new>
#include <string>
#include <utility>

#include "lib/base/log.h"
#include "lib/base/status.h"

namespace parkd {

template <class Protocol>
class AcceptLoop : public std::enable_shared_from_this<AcceptLoop<Protocol>> {
 public:
  using Socket = typename Protocol::socket;
  using TakeIn = std::function<void(Socket)>;

  // `take_in` may throw std::bad_alloc: that connection ends.
  AcceptLoop(boost::asio::io_context& io, TakeIn take_in)
      : io_(io), acceptor_(io), take_in_(std::move(take_in)) {}

  // Takes the descriptor over, which listens already. Errors: invalid.
  Status start(const Protocol& protocol, int fd) {
    boost::system::error_code error;
    acceptor_.assign(protocol, fd, error);
    if (error) return invalid(error.message());
    accept();
    return {};
  }

  // Closed, once those who have connected and were not accepted yet are in.
  void finish() {
    boost::system::error_code error;
    acceptor_.non_blocking(true, error);
    for (;;) {
      Socket socket(io_);
      if (acceptor_.accept(socket, error)) break;
      take_in_(std::move(socket));
    }
    close();
  }

  void close() {
    boost::system::error_code ignored;
    acceptor_.close(ignored);
  }

 private:
  void accept() {
    acceptor_.async_accept(
        [self = this->shared_from_this()](boost::system::error_code error, Socket socket) {
          if (!self->acceptor_.is_open()) return;
          if (error) {
            // Out of descriptors, most likely: wait for some to come back instead of spinning.
            log_warn("api.accept_failed", {{"error", error.message()}});
            return self->accept_soon();
          }
          try {
            self->take_in_(std::move(socket));
          } catch (const std::bad_alloc&) {
            log_error("api.out_of_memory", {{"at", "accept"}});
          }
          self->accept();
        });
  }

  void accept_soon() {
    auto timer = std::make_shared<boost::asio::steady_timer>(io_, std::chrono::milliseconds(200));
    timer->async_wait([self = this->shared_from_this(), timer](boost::system::error_code) {
      if (self->acceptor_.is_open()) self->accept();
    });
  }

  boost::asio::io_context& io_;
  typename Protocol::acceptor acceptor_;
  const TakeIn take_in_;
};

}  // namespace parkd
