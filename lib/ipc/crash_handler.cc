#include "lib/ipc/crash_handler.h"

#include <signal.h>

#include <array>
#include <cstddef>

#include "lib/base/check.h"
#include "lib/base/thread.h"

namespace parkd {
namespace {

constexpr std::array<int, 5> kSignals = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};

// A signal handler finds nothing but what is global. Written by install and remove alone.
std::atomic<std::atomic<uint32_t>*> g_word{nullptr};
std::array<struct sigaction, kSignals.size()> g_before{};

void give_back(int signal) {
  for (size_t i = 0; i < kSignals.size(); ++i) {
    if (kSignals[i] == signal) ::sigaction(signal, &g_before[i], nullptr);
  }
}

void on_crash(int signal, siginfo_t* info, void*) {
  std::atomic<uint32_t>* word = g_word.load(std::memory_order_acquire);
  if (word != nullptr && EngineThread::is_current()) {
    uint32_t none = 0;
    word->compare_exchange_strong(none, static_cast<uint32_t>(signal));
  }
  give_back(signal);
  // A fault comes again when the instruction does, with its true place in the core dump; a signal
  // that was sent (abort, kill) must be sent again.
  if (info->si_code <= 0) ::raise(signal);
}

}  // namespace

void install_crash_handler(std::atomic<uint32_t>& word) {
  PARKD_CHECK(g_word.exchange(&word) == nullptr, "the crash handler is installed once");
  struct sigaction action {};
  action.sa_sigaction = on_crash;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  ::sigemptyset(&action.sa_mask);
  for (size_t i = 0; i < kSignals.size(); ++i) {
    PARKD_CHECK(::sigaction(kSignals[i], &action, &g_before[i]) == 0, "sigaction");
  }
}

void remove_crash_handler() {
  if (g_word.exchange(nullptr) == nullptr) return;
  for (const int signal : kSignals) give_back(signal);
}

}  // namespace parkd
