// A verb of a store as a plain call that waits for its completion. Never on a thread of that store.
#pragma once

#include <future>
#include <memory>
#include <utility>

#include "lib/store/completion.h"

namespace parkd {

template <class T, class Verb>
Result<T> wait_for(Verb&& verb) {
  const auto promise = std::make_shared<std::promise<Result<T>>>();
  std::future<Result<T>> answer = promise->get_future();
  std::forward<Verb>(verb)(
      Completion<T>([promise](Result<T> result) { promise->set_value(std::move(result)); }));
  return answer.get();
}

}  // namespace parkd
