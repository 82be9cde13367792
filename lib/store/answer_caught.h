// Exceptions of a verb on a thread that others wait for too: they end in an answer, not in the end
// of the thread. What the verb has done by then stands; as with an answer that was lost on the way,
// who repeats it is told. Nothing here throws.
#pragma once

#include <exception>
#include <new>
#include <type_traits>
#include <utility>

#include "lib/base/log.h"
#include "lib/store/completion.h"

namespace parkd {

// Short enough that it allocates nothing.
inline Status out_of_memory() {
  return unavailable("out of memory");
}

// Of the exception that is being handled, met at `where`; logged if there is memory for a line.
inline Status caught_status(const char* where) noexcept {
  try {
    throw;
  } catch (const std::bad_alloc&) {
    try {
      log_error("store.out_of_memory", {{"at", where}});
    } catch (...) {  // NOLINT(bugprone-empty-catch): not even for a line of the log
    }
    return out_of_memory();
  } catch (const std::exception& error) {
    try {
      log_error("store.exception", {{"at", where}, {"error", error.what()}});
      return internal_error("parkd could not do this; its log says why");
    } catch (...) {
      return out_of_memory();
    }
  }
}

// What `work` answers, a Status or a Result (of nothing: ok), or why it threw.
template <class Work>
auto caught(const char* where, Work&& work) noexcept {
  using Answer = std::invoke_result_t<Work>;
  if constexpr (std::is_void_v<Answer>) {
    return caught(where, [&]() -> Status {
      std::forward<Work>(work)();
      return {};
    });
  } else {
    try {
      return std::forward<Work>(work)();
    } catch (...) {
      return Answer(caught_status(where));
    }
  }
}

// Calls `done` with what `work` answers, and if one of them throws, once more with the reason: who
// waits shall hear of it.
template <class T, class Work>
void answer_caught(const Completion<T>& done, Work&& work) noexcept {
  const Status answered = caught("verb", [&] { done(std::forward<Work>(work)()); });
  if (!answered.ok()) (void)caught("answer", [&] { done(answered); });
}

// Answers with `result`. Leaves `done` empty: a call is answered once, and one that was is passed
// over.
template <class T>
void answer_once(Completion<T>& done, const Result<T>& result) noexcept {
  const Completion<T> answer = std::exchange(done, nullptr);
  if (answer) answer_caught(answer, [&] { return result; });
}

}  // namespace parkd
