// Errors: how far an implementation's values are from float64, printed and held to a bound.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <iostream>
#include <string>
#include <utility>

namespace parkd::testing {

// The largest errors against float64 of one op or kernel and type; each value is held to
// |error| <= relative * |wanted| + absolute (0 and 0: exact). Printed when the test ends;
// tools/kernels/kernel_errors.py makes a table of these lines.
class Errors {
 public:
  Errors(std::string name, double relative, double absolute)
      : name_(std::move(name)), relative_(relative), absolute_(absolute) {}
  // Each value has a bound of its own.
  explicit Errors(std::string name) : Errors(std::move(name), -1, -1) {}
  ~Errors() {
    if (n_ == 0) return;
    std::cout << name_ << ": " << n_ << " values, max abs error " << max_absolute_
              << ", max rel error " << max_relative_ << " (allowed ";
    if (relative_ < 0) {
      std::cout << "each its own";
    } else {
      std::cout << relative_ << " * |x| + " << absolute_;
    }
    std::cout << ", used " << max_used_ << ")\n";
  }
  Errors(const Errors&) = delete;
  Errors& operator=(const Errors&) = delete;

  void check(float got, double wanted, const std::string& where) {
    check(got, wanted, relative_ * std::fabs(wanted) + absolute_, where);
  }
  void check(float got, double wanted, double allowed, const std::string& where) {
    ++n_;
    if (static_cast<double>(got) == wanted) return;  // infinities too
    const double error = std::fabs(static_cast<double>(got) - wanted);
    max_absolute_ = std::max(max_absolute_, error);
    max_used_ = std::max(max_used_, error / allowed);
    if (std::fabs(wanted) > 100 * allowed) {  // below that it says nothing
      max_relative_ = std::max(max_relative_, error / std::fabs(wanted));
    }
    if (error <= allowed) return;
    if (++n_wrong_ <= 5) {
      ADD_FAILURE() << name_ << " " << where << ": " << got << ", wanted " << wanted << " within "
                    << allowed;
    }
  }

 private:
  std::string name_;
  double relative_;
  double absolute_;
  int64_t n_ = 0;
  int64_t n_wrong_ = 0;
  double max_absolute_ = 0;
  double max_relative_ = 0;
  double max_used_ = 0;  // of what was allowed
};

}  // namespace parkd::testing
