// The crash handler: a crash on an engine thread leaves its signal in a word that outlives the
// process (RunningIds::word), so that the next start knows that the jobs in the engine are suspect.
//
// It handles SIGSEGV, SIGBUS, SIGFPE, SIGILL and SIGABRT (CHECK, std::terminate), does nothing but
// one atomic store, and gives the signal back to the handler before it, so that core dumps, exit
// status and sanitizers' reports stay what they are. A crash on another thread is not noted: no job
// is to blame for it. Async-signal-safe; on the alternate stack of EngineThread (lib/base/thread.h)
// where there is one, so that an overflow of the stack is noted too.
#pragma once

#include <atomic>
#include <cstdint>

namespace parkd {

// For the whole process, once, before engine threads start. `word` outlives the handler.
void install_crash_handler(std::atomic<uint32_t>& word);
// Gives the signals back. For the end of the word's life.
void remove_crash_handler();

}  // namespace parkd
