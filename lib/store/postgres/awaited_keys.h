// AwaitedKeys: which mailbox key an announcement of the database's is about.
//
// A payload of NOTIFY parkd_results says nothing by itself (results_payload_v1); the database says
// the payload of a key, and those of keys that a reader asked for and found empty are kept here,
// the latest 16,384. One that is not here wakes no reader: one that waits for it reads again by the
// poll. Owner: PostgresStore. Thread-safe: the read session adds, the listener's thread looks up.
#pragma once

#include <chrono>
#include <list>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "lib/base/thread_safety.h"

namespace parkd {

class AwaitedKeys {
 public:
  using Key = std::pair<std::string, std::string>;  // tenant, mailbox key
  using TimePoint = std::chrono::steady_clock::time_point;
  static constexpr size_t kKeysMax = 16'384;

  // Whether the database is to be asked for the payload of this key.
  bool is_new(const Key& key, TimePoint now);
  void add(const Key& key, const std::string& payload);
  // The database announces nothing (parkd.settings.notify_results); for 10 s it is not asked again.
  void none_announced(TimePoint now);

  std::optional<Key> find(const std::string& payload) const;

 private:
  struct Entry {
    Key key;
    std::string payload;
  };
  mutable std::mutex mutex_;
  std::list<Entry> entries_ PARKD_GUARDED_BY(mutex_);  // the latest first
  std::map<Key, std::list<Entry>::iterator> by_key_ PARKD_GUARDED_BY(mutex_);
  std::map<std::string, Key> by_payload_ PARKD_GUARDED_BY(mutex_);
  TimePoint ask_again_at_ PARKD_GUARDED_BY(mutex_) = {};
};

}  // namespace parkd
