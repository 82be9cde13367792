#include "lib/store/postgres/awaited_keys.h"

namespace parkd {

bool AwaitedKeys::is_new(const Key& key, TimePoint now) {
  const std::lock_guard lock(mutex_);
  const auto known = by_key_.find(key);
  if (known == by_key_.end()) return now >= ask_again_at_;
  entries_.splice(entries_.begin(), entries_, known->second);
  return false;
}

void AwaitedKeys::add(const Key& key, const std::string& payload) {
  const std::lock_guard lock(mutex_);
  if (by_key_.contains(key)) return;
  entries_.push_front({key, payload});
  by_key_[key] = entries_.begin();
  by_payload_[payload] = key;
  if (entries_.size() <= kKeysMax) return;
  by_key_.erase(entries_.back().key);
  by_payload_.erase(entries_.back().payload);
  entries_.pop_back();
}

void AwaitedKeys::none_announced(TimePoint now) {
  const std::lock_guard lock(mutex_);
  ask_again_at_ = now + std::chrono::seconds(10);
}

std::optional<AwaitedKeys::Key> AwaitedKeys::find(const std::string& payload) const {
  const std::lock_guard lock(mutex_);
  const auto known = by_payload_.find(payload);
  if (known == by_payload_.end()) return std::nullopt;
  return known->second;
}

}  // namespace parkd
