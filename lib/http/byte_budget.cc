#include "lib/http/byte_budget.h"

#include <algorithm>
#include <string>

namespace parkd {

Status ByteBudget::Charge::grow(size_t bytes) {
  PARKD_RETURN_IF_ERROR(budget_.take(account_, bytes_max(), bytes));
  held_bytes_ += bytes;
  return {};
}

void ByteBudget::Charge::shrink_to(size_t bytes) {
  if (bytes >= held_bytes_) return;
  budget_.give_back(account_, held_bytes_ - bytes);
  held_bytes_ = bytes;
}

size_t ByteBudget::Charge::bytes_max() const {
  return is_privileged_ ? budget_.total_bytes_ : budget_.total_bytes_ / 2;
}

Status ByteBudget::take(const std::string& account, size_t share_bytes, size_t bytes) {
  const std::lock_guard lock(mutex_);
  const auto known = of_account_.find(account);
  const size_t own = known == of_account_.end() ? 0 : known->second;
  const auto refuse = [&](const std::string& whose, size_t held,
                          size_t limit) PARKD_REQUIRES(mutex_) {
    ++refused_;
    return unavailable(whose + what_ + " hold " + std::to_string(held) +
                       " bytes and this one needs " + std::to_string(bytes) +
                       " more; the limit is " + std::to_string(limit) + ": try again later");
  };
  if (bytes > share_bytes - std::min(share_bytes, own)) {
    return refuse("your ", own, share_bytes);
  }
  if (bytes > total_bytes_ - used_bytes_) {
    return refuse("all users' ", used_bytes_, total_bytes_);
  }
  of_account_[account] = own + bytes;
  used_bytes_ += bytes;
  peak_bytes_ = std::max(peak_bytes_, used_bytes_);
  return {};
}

void ByteBudget::give_back(const std::string& account, size_t bytes) {
  if (bytes == 0) return;
  const std::lock_guard lock(mutex_);
  used_bytes_ -= bytes;
  const auto own = of_account_.find(account);
  own->second -= bytes;
  if (own->second == 0) of_account_.erase(own);
}

ByteBudget::Figures ByteBudget::figures() const {
  const std::lock_guard lock(mutex_);
  return {total_bytes_, used_bytes_, peak_bytes_, refused_};
}

}  // namespace parkd
