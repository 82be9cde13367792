#include "daemon/api/mailbox_waiters.h"

#include <vector>

namespace parkd {

MailboxWaiters::~MailboxWaiters() {
  for (const auto& [key, waiter] : std::exchange(waiters_, {})) waiter->call = nullptr;
}

MailboxWaiters::Handle MailboxWaiters::add(const std::string& tenant,
                                           const std::string& mailbox_key,
                                           std::chrono::seconds wait,
                                           std::function<void(Call)> call) {
  auto waiter = std::make_shared<Waiter>();
  waiter->call = std::move(call);
  waiter->timer = std::make_unique<boost::asio::steady_timer>(io_, wait);
  waiter->timer->async_wait(
      [weak = std::weak_ptr<Waiter>(waiter)](boost::system::error_code error) {
        const Handle alive = weak.lock();
        if (!error && alive != nullptr) alive->call(Call::give_up);
      });
  waiter->place = waiters_.emplace(Key(tenant, mailbox_key), waiter);
  return waiter;
}

void MailboxWaiters::remove(const Handle& waiter) {
  waiters_.erase(waiter->place);
}

void MailboxWaiters::wake(const std::string& tenant, const std::string& mailbox_key) {
  const auto [first, last] = waiters_.equal_range(Key(tenant, mailbox_key));
  std::vector<Handle> woken;  // a call may remove its waiter
  for (auto at = first; at != last; ++at) woken.push_back(at->second);
  for (const Handle& waiter : woken) waiter->call(Call::try_again);
}

void MailboxWaiters::wake_all() {
  call_all(Call::try_again);
}

void MailboxWaiters::end_all() {
  call_all(Call::give_up);
}

void MailboxWaiters::call_all(Call call) {
  std::vector<Handle> all;
  for (const auto& [key, waiter] : waiters_) all.push_back(waiter);
  for (const Handle& waiter : all) waiter->call(call);
}

}  // namespace parkd
