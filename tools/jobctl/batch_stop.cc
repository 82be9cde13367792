// A run that is stopped before its end: what the signals do, and what is said and done then.
#include <signal.h>
#include <unistd.h>

#include <iostream>

#include "tools/jobctl/batch_run.h"
#include "tools/jobctl/commands.h"

namespace parkd::jobctl {
namespace {

constexpr int kSecondInterrupt_ms = 3000;  // so long after Ctrl-C another one cancels

volatile sig_atomic_t interrupted = 0;  // how often
volatile sig_atomic_t terminated = 0;

// As srun does it: the first Ctrl-C says what the second does.
void on_interrupt(int) {
  constexpr char kSaid[] =
      "\njobctl: stopping; accepted lines go on in parkd (Ctrl-C again within 3 s cancels them)\n";
  if (interrupted == 0) (void)!::write(STDERR_FILENO, kSaid, sizeof kSaid - 1);
  interrupted = interrupted + 1;
  if (interrupted > 1) ::signal(SIGINT, SIG_DFL);  // a third kills
}

void on_terminate(int) {
  terminated = 1;
  ::signal(SIGTERM, SIG_DFL);
}

}  // namespace

void take_signals() {
  struct sigaction action {};
  action.sa_handler = on_interrupt;
  ::sigaction(SIGINT, &action, nullptr);
  action.sa_handler = on_terminate;
  ::sigaction(SIGTERM, &action, nullptr);
}

bool is_stopping() {
  return interrupted != 0 || terminated != 0;
}

// Whether an interrupt is to end what parkd has of the run: as it was told to, or by a second one.
bool BatchRun::wants_cancel() const {
  if (options_.cancel_on_interrupt) return true;
  constexpr int kLook_ms = 50;
  for (int waited_ms = 0; interrupted == 1 && terminated == 0 && waited_ms < kSecondInterrupt_ms;
       waited_ms += kLook_ms) {
    ::usleep(kLook_ms * 1000);
  }
  return interrupted > 1;
}

int BatchRun::stop() {
  const BatchCounts& counts = output_.counts();
  const std::string so_far = std::to_string(counts.done) + " of " + std::to_string(counts.total) +
                             " results in " +
                             (output_.is_stream() ? "standard output" : options_.output);
  const std::string rest = output_.is_stream()
                               ? "The others: jobctl mailbox batch-" + output_.run_id()
                               : "Continue with the same command";
  if (!batches_.was_opened()) {
    std::cerr << "jobctl: interrupted with " << so_far << "; nothing was submitted. " << rest
              << ".\n";
    return kExitInterrupted;
  }
  const std::string by_hand = "jobctl batch cancel " + batches_.word();
  if (!wants_cancel()) {
    std::cerr << "jobctl: interrupted with " << so_far << "; accepted jobs of run "
              << batches_.name() << " go on. " << rest << "; end them: " << by_hand << "\n";
    return kExitInterrupted;
  }
  if (const Status status = batches_.cancel(); !status.ok()) {
    std::cerr << "jobctl: run " << batches_.name() << " could not be cancelled and goes on ("
              << status.message() << "): " << by_hand << "\n";
    return kExitInterrupted;
  }
  std::cerr << "jobctl: run " << batches_.name() << " is cancelled, with " << so_far << "; "
            << (output_.is_stream()
                    ? rest
                    : "the same command collects the others as \"cancelled\", and with "
                      "--retry-failed=cancelled runs those again")
            << "\n";
  return kExitInterrupted;
}

}  // namespace parkd::jobctl
