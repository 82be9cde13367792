// --priority, the same in every subcommand that takes it.
#pragma once

#include <CLI/CLI.hpp>

namespace parkd::jobctl {

inline CLI::IsMember is_priority() {
  return CLI::IsMember({"critical", "high", "normal", "low"});
}

}  // namespace parkd::jobctl
