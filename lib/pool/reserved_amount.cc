#include "lib/pool/reserved_amount.h"

#include <algorithm>

#include "lib/base/check.h"

namespace parkd {

ReservedAmount::ReservedAmount(int64_t capacity, int64_t reserve)
    : capacity_(capacity), reserve_(reserve) {
  PARKD_CHECK(capacity >= 0, "a pool of negative capacity");
  PARKD_CHECK(reserve >= 0 && reserve <= capacity, "a reserve of more than there is");
}

int64_t ReservedAmount::free(Purse purse) const {
  if (purse == Purse::reserve) return reserve_ - in_use_.reserved;
  const bool all = purse == Purse::all || in_use_.sum() == 0;
  return all ? capacity_ - in_use_.sum() : capacity_ - reserve_ - in_use_.common;
}

std::optional<ReservedAmount::Taken> ReservedAmount::take(int64_t n, Purse purse) {
  PARKD_CHECK(n >= 0, "a charge of negative blocks");
  if (n > free(purse)) return std::nullopt;  // compared this way round, nothing can overflow
  const int64_t from_common =
      purse == Purse::reserve ? 0 : std::min(n, capacity_ - reserve_ - in_use_.common);
  const Taken taken{from_common, n - from_common};
  in_use_.common += taken.common;
  in_use_.reserved += taken.reserved;
  return taken;
}

void ReservedAmount::give_back(Taken taken) {
  PARKD_CHECK(taken.common <= in_use_.common && taken.reserved <= in_use_.reserved,
              "more came back than was taken");
  in_use_.common -= taken.common;
  in_use_.reserved -= taken.reserved;
}

ReservedAmount& ReservedAmount::operator+=(const ReservedAmount& other) {
  capacity_ += other.capacity_;
  reserve_ += other.reserve_;
  in_use_.common += other.in_use_.common;
  in_use_.reserved += other.in_use_.reserved;
  return *this;
}

}  // namespace parkd
