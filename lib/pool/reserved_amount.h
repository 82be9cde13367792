// ReservedAmount: so many of a thing (units of a part, sequence slots), of which some are kept for
// callers that wait. Plain arithmetic; its owner is ResourcePool.
#pragma once

#include <cstdint>
#include <optional>

namespace parkd {

// What a taking may come out of.
enum class Purse {
  common,   // what is not kept; all of it where nothing is in use, so that any job can run
  all,      // what is not kept first, then what is
  reserve,  // what is kept alone
};

class ReservedAmount {
 public:
  struct Taken {
    int64_t common = 0;
    int64_t reserved = 0;
    int64_t sum() const { return common + reserved; }
  };

  // Requires: 0 <= reserve <= capacity.
  ReservedAmount(int64_t capacity, int64_t reserve);

  // All of `n` or nothing. Requires: n >= 0.
  [[nodiscard]] std::optional<Taken> take(int64_t n, Purse purse);
  // Requires: that much was taken.
  void give_back(Taken taken);
  // Both as one.
  ReservedAmount& operator+=(const ReservedAmount& other);

  int64_t capacity() const { return capacity_; }
  int64_t reserve() const { return reserve_; }
  const Taken& in_use() const { return in_use_; }
  int64_t free(Purse purse) const;  // the most that can be taken now

 private:
  int64_t capacity_;
  int64_t reserve_;
  Taken in_use_;
};

}  // namespace parkd
