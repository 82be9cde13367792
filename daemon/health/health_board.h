// HealthBoard: the notices of the daemon itself (those of a store come with its stats). Lives on
// the control thread.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "lib/base/health.h"
#include "lib/base/status.h"

namespace parkd {

class HealthBoard {
 public:
  // Puts a notice up, or changes its text; logged when it was not up. What refuses work is an
  // error, the rest a warning.
  void raise(HealthNotice notice);
  // Takes it down, with a line in the log. Nothing happens where it was not up.
  void clear(const std::string& code);

  std::vector<HealthNotice> notices() const;
  // unavailable with the text of a notice that refuses work; ok where there is none.
  Status may_accept() const;

 private:
  std::map<std::string, HealthNotice> notices_;  // by code
};

}  // namespace parkd
