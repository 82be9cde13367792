// guarded(): for work on a thread of another owner (BlockingPool), whose answer must come
// whatever happens: what it throws (bad_alloc, a library's) becomes its answer. Any thread.
#pragma once

#include <exception>
#include <functional>
#include <string>

#include "lib/base/status.h"

namespace parkd {

// internal where it threw, with what the exception says.
template <class T>
Result<T> guarded(const std::function<Result<T>()>& work) {
  try {
    return work();
  } catch (const std::exception& error) {
    return internal_error(std::string("exception: ") + error.what());
  }
}

}  // namespace parkd
