#include "lib/http/byte_budget.h"

#include <algorithm>
#include <string>

#include "lib/http/peer.h"

namespace parkd {

Status ByteBudget::Charge::grow(size_t bytes) {
  PARKD_RETURN_IF_ERROR(budget_.take(uid_, bytes));
  held_bytes_ += bytes;
  return {};
}

void ByteBudget::Charge::shrink_to(size_t bytes) {
  if (bytes >= held_bytes_) return;
  budget_.give_back(uid_, held_bytes_ - bytes);
  held_bytes_ = bytes;
}

size_t ByteBudget::Charge::bytes_max() const {
  return budget_.share_of(uid_);
}

size_t ByteBudget::share_of(uid_t uid) const {
  return is_keeper(uid) ? total_bytes_ : total_bytes_ / 2;
}

Status ByteBudget::take(uid_t uid, size_t bytes) {
  const std::lock_guard lock(mutex_);
  const auto known = of_user_.find(uid);
  const size_t own = known == of_user_.end() ? 0 : known->second;
  const auto refuse = [&](const std::string& whose, size_t held,
                          size_t limit) PARKD_REQUIRES(mutex_) {
    ++refused_;
    return unavailable(whose + what_ + " hold " + std::to_string(held) +
                       " bytes and this one needs " + std::to_string(bytes) +
                       " more; the limit is " + std::to_string(limit) + ": try again later");
  };
  if (const size_t share = share_of(uid); bytes > share - std::min(share, own)) {
    return refuse("your ", own, share);
  }
  if (bytes > total_bytes_ - used_bytes_) {
    return refuse("all users' ", used_bytes_, total_bytes_);
  }
  of_user_[uid] = own + bytes;
  used_bytes_ += bytes;
  peak_bytes_ = std::max(peak_bytes_, used_bytes_);
  return {};
}

void ByteBudget::give_back(uid_t uid, size_t bytes) {
  if (bytes == 0) return;
  const std::lock_guard lock(mutex_);
  used_bytes_ -= bytes;
  const auto own = of_user_.find(uid);
  own->second -= bytes;
  if (own->second == 0) of_user_.erase(own);
}

ByteBudget::Figures ByteBudget::figures() const {
  const std::lock_guard lock(mutex_);
  return {total_bytes_, used_bytes_, peak_bytes_, refused_};
}

}  // namespace parkd
