// after: something the control thread does later.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <utility>

namespace parkd {

// Calls `then` on the control thread after `delay`, unless `io` is stopped before.
inline void after(boost::asio::io_context& io, std::chrono::milliseconds delay,
                  std::function<void()> then) {
  auto timer = std::make_shared<boost::asio::steady_timer>(io, delay);
  timer->async_wait([timer, then = std::move(then)](boost::system::error_code error) {
    if (!error) then();
  });
}

}  // namespace parkd
