// Exceptions of a verb on a thread that others wait for too: they end in an answer, not in the end
// of the thread. What the verb has done by then stands; as with an answer that was lost on the way,
// who repeats it is told.
#pragma once

#include <exception>
#include <new>
#include <utility>

#include "lib/base/log.h"
#include "lib/store/job_store.h"

namespace parkd {

// Of the exception that is being handled; logged.
inline Status caught_status() {
  try {
    throw;
  } catch (const std::bad_alloc&) {
    log_error("store.out_of_memory", {{"at", "verb"}});
    return unavailable("out of memory");
  } catch (const std::exception& error) {
    log_error("store.exception", {{"at", "verb"}, {"error", error.what()}});
    return internal_error("parkd could not do this; its log says why");
  }
}

// What `work`, which returns a Status, comes to; or why it threw.
template <class Work>
Status caught_in(Work&& work) {
  try {
    return std::forward<Work>(work)();
  } catch (const std::exception&) {
    return caught_status();
  }
}

// What `work` answers, or why it threw.
template <class T, class Work>
Result<T> caught_result(Work&& work) {
  try {
    return std::forward<Work>(work)();
  } catch (const std::exception&) {
    return caught_status();
  }
}

// Calls `done` with what `work` answers; if one of them throws, with the reason.
template <class T, class Work>
void answer_caught(const Completion<T>& done, Work&& work) {
  try {
    return done(std::forward<Work>(work)());
  } catch (const std::exception&) {
    done(caught_status());
  }
}

// Calls `done` with `result`, and where that throws, once more with the reason: who waits shall
// hear of it. Leaves `done` empty: a call is answered once, and one that was is passed over.
template <class T>
void answer_once(Completion<T>& done, const Result<T>& result) {
  const Completion<T> answer = std::exchange(done, nullptr);
  if (!answer) return;
  try {
    answer_caught(answer, [&] { return result; });
  } catch (const std::exception&) {
    (void)caught_status();
  }
}

}  // namespace parkd
