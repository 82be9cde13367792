// HealthNotice: a condition that an operator should know of, for as long as it lasts: a store that
// holds damage, a clock that was followed back, a directory that is gone. /readyz lists them under
// "notices", /metrics has parkd_notice{code}, the log says when one comes and goes.
#pragma once

#include <string>

namespace parkd {

struct HealthNotice {
  std::string code;        // a stable word for alerts, snake_case: "clock_skew"
  std::string text;        // what it is, what it means, the way out; for people
  bool not_ready = false;  // while it lasts submits are refused (503) with the text, /readyz is 503
};

}  // namespace parkd
