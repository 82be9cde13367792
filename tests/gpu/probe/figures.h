// What a device does beside what it is expected to do, as lines that tools/gpu_check.sh makes its
// table of:
//   figure<TAB>NAME<TAB>SEEN<TAB>EXPECTED<TAB>UNIT
// EXPECTED is "-" where nobody expects anything: of devices without a data sheet here.
#pragma once

#include <optional>
#include <string>

#include "tools/simulate/sheets.h"

namespace parkd::probe {

// By the name that CUDA gives a device ("NVIDIA H100 80GB HBM3"); nullptr: none of ours.
const simulate::DeviceSheet* sheet_of(const std::string& device_name);

class Figures {
 public:
  explicit Figures(const simulate::DeviceSheet* sheet) : sheet_(sheet) {}

  const simulate::DeviceSheet* sheet() const { return sheet_; }
  // `expected` of the sheet; asked for only where there is one.
  template <class Expected>
  void print(const std::string& name, double seen, const char* unit, Expected expected) const {
    print_line(name, seen, sheet_ == nullptr ? std::nullopt : std::optional(expected(*sheet_)),
               unit);
  }
  void print(const std::string& name, double seen, const char* unit) const {
    print_line(name, seen, std::nullopt, unit);
  }

 private:
  static void print_line(const std::string& name, double seen, std::optional<double> expected,
                         const char* unit);
  const simulate::DeviceSheet* sheet_;
};

}  // namespace parkd::probe
