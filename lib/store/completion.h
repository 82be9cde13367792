// Completion: what a verb of a store calls with its answer: exactly once, on a thread of the store
// (memory: inside the call). It must not block and must not call the store: it pushes into an
// Inbox.
#pragma once

#include <functional>

#include "lib/base/status.h"

namespace parkd {

template <class T>
using Completion = std::function<void(Result<T>)>;

}  // namespace parkd
