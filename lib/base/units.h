// Numbers with a unit. A Blocks is never mistaken for a token count, and rounding has a name.
#pragma once

#include <compare>
#include <cstdint>

namespace parkd {

// A count of KV-cache blocks: the unit jobs are charged in.
struct Blocks {
  int64_t count = 0;

  // NOLINTNEXTLINE(modernize-use-nullptr): clang-tidy 14 takes the comparison's 0 for a pointer
  friend auto operator<=>(const Blocks&, const Blocks&) = default;
  friend Blocks operator+(Blocks a, Blocks b) { return {a.count + b.count}; }
  friend Blocks operator-(Blocks a, Blocks b) { return {a.count - b.count}; }
  Blocks& operator+=(Blocks other) {
    count += other.count;
    return *this;
  }
  Blocks& operator-=(Blocks other) {
    count -= other.count;
    return *this;
  }
};

// How many steps of `step` cover `count`; count >= 0, step > 0.
constexpr int64_t ceil_div(int64_t count, int64_t step) {
  return (count + step - 1) / step;
}

}  // namespace parkd
