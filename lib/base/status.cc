#include "lib/base/status.h"

#include <unistd.h>

#include <cstdlib>

namespace parkd {

std::string_view to_string(StatusCode code) {
  switch (code) {
    case StatusCode::ok:
      return "ok";
    case StatusCode::invalid:
      return "invalid";
    case StatusCode::denied:
      return "denied";
    case StatusCode::not_found:
      return "not_found";
    case StatusCode::conflict:
      return "conflict";
    case StatusCode::exhausted:
      return "exhausted";
    case StatusCode::unavailable:
      return "unavailable";
    case StatusCode::corrupt:
      return "corrupt";
    case StatusCode::internal:
      return "internal";
  }
  return "unknown";
}

std::string Status::to_string() const {
  std::string text(parkd::to_string(code_));
  if (!message_.empty()) text += ": " + message_;
  if (!param_.empty()) text += " (" + param_ + ")";
  return text;
}

void check_failed(const char* file, int line, const char* condition, const std::string& why) {
  const std::string text = std::string("CHECK failed at ") + file + ":" + std::to_string(line) +
                           ": " + condition + ": " + why + "\n";
  // A failed write to stderr changes nothing: we are about to abort.
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
  std::abort();
}

}  // namespace parkd
