#include "lib/base/kill_point.h"

#include <signal.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <charconv>
#include <cstdlib>
#include <string>
#include <vector>

#include "lib/base/check.h"

namespace parkd {
namespace {

constexpr std::array<std::string_view, 22> kNames = {
    "submit.before_commit",
    "submit.after_commit",
    "claim.after",
    "dispatch.after_charge",
    "engine.mid_prefill",
    "engine.mid_decode",
    "finish.before_commit",
    "finish.after_commit",
    "cancel.after_commit",
    "release.after_commit",
    "purge.mid",
    "drain.before_release",
    "upload.before_piece",
    "upload.before_rename",
    "upload.after_rename",
    "batch.validated",
    "batch.portion_submitted",
    "batch.counted",
    "webhook.sent",
    "outbox.before_deliver",
    "outbox.after_deliver",
    "outbox.after_drop",
};

struct Target {
  std::string_view name;
  long passing = 0;
};

Target read_target() {
  const char* text = std::getenv("PARKD_KILL_AT");
  if (text == nullptr) return {};
  const std::string_view spec(text);
  const size_t colon = spec.rfind(':');
  PARKD_CHECK(colon != std::string_view::npos, "PARKD_KILL_AT is name:n");
  Target target{spec.substr(0, colon), 0};
  const std::string_view digits = spec.substr(colon + 1);
  std::from_chars(digits.data(), digits.data() + digits.size(), target.passing);
  PARKD_CHECK(target.passing > 0, "PARKD_KILL_AT counts from 1");
  return target;
}

struct Poison {
  uint64_t seed = 0;
  std::string how;  // empty: nothing is poison
  int64_t n_tokens = 0;
};

Poison read_poison() {
  const char* text = std::getenv("PARKD_POISON");
  if (text == nullptr) return {};
  const std::string spec(text);
  const size_t first = spec.find(':');
  const size_t last = spec.rfind(':');
  PARKD_CHECK(first != spec.npos && first < last, "PARKD_POISON is seed:how:n");
  return {std::stoull(spec.substr(0, first)), spec.substr(first + 1, last - first - 1),
          std::stoll(spec.substr(last + 1))};
}

[[noreturn]] void die_now() {
  ::kill(::getpid(), SIGKILL);
  for (;;) ::pause();  // the signal is on its way; this thread must not do anything more
}

// Volatile itself, so that no compiler sees where it points; a sanitizer that sees it writes there
// makes an exit(1) of it.
__attribute__((no_sanitize("undefined", "address"), noinline)) void write_to_nowhere() {
  volatile int* volatile nowhere = nullptr;
  *nowhere = 1;
}

}  // namespace

std::span<const std::string_view> kill_point_names() {
  return kNames;
}

void kill_point(std::string_view name) {
  static const Target target = read_target();  // the environment does not change while we run
  static std::atomic<long> passings{0};
  if (target.name != name) return;
  if (passings.fetch_add(1) + 1 == target.passing) die_now();
}

bool poison_point(uint64_t seed, int64_t n_tokens) {
  static const Poison poison = read_poison();
  if (poison.how.empty() || seed != poison.seed || n_tokens < poison.n_tokens) return false;
  if (poison.how == "device") return true;
  if (poison.how == "kill") die_now();
  if (poison.how == "abort") std::abort();
  PARKD_CHECK(poison.how == "segv", "PARKD_POISON kills by segv, abort, kill or device");
  write_to_nowhere();
  return false;
}

}  // namespace parkd
