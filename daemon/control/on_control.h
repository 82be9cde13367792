// on_control: a store's completion, carried from the store's thread to the control thread.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <functional>
#include <memory>
#include <utility>

#include "lib/store/completion.h"

namespace parkd {

template <class T>
Completion<T> on_control(boost::asio::io_context& io, std::function<void(Result<T>)> then) {
  return [&io, then = std::move(then)](Result<T> answer) {
    boost::asio::post(io, [then, answer = std::make_shared<Result<T>>(std::move(answer))] {
      then(std::move(*answer));
    });
  };
}

}  // namespace parkd
