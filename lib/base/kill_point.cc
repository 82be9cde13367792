#include "lib/base/kill_point.h"

#include <signal.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <charconv>
#include <cstdlib>

#include "lib/base/check.h"

namespace parkd {
namespace {

constexpr std::array<std::string_view, 12> kNames = {
    "submit.before_commit",  "submit.after_commit", "claim.after",
    "dispatch.after_charge", "engine.mid_prefill",  "engine.mid_decode",
    "finish.before_commit",  "finish.after_commit", "cancel.after_commit",
    "release.after_commit",  "purge.mid",           "drain.before_release",
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

}  // namespace

std::span<const std::string_view> kill_point_names() {
  return kNames;
}

void kill_point(std::string_view name) {
  static const Target target = read_target();  // the environment does not change while we run
  static std::atomic<long> passings{0};
  if (target.name != name) return;
  if (passings.fetch_add(1) + 1 == target.passing) {
    ::kill(::getpid(), SIGKILL);
    for (;;) ::pause();  // the signal is on its way; this thread must not do anything more
  }
}

}  // namespace parkd
