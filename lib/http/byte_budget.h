// ByteBudget: how many bytes of peers' requests, and of what is read out of them, this process
// holds at a time. One account may have half of it, a privileged one all that is left.
//
// Shared by the control thread (bodies as they come) and the threads that parse. A charge that is
// refused leaves everything as it was; what a Charge holds it gives back when it goes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "lib/base/status.h"
#include "lib/base/thread_safety.h"
#include "lib/http/principal.h"

namespace parkd {

class ByteBudget {
 public:
  // `what` is held, in the plural: "requests that are being read".
  ByteBudget(std::string what, size_t total_bytes)
      : what_(std::move(what)), total_bytes_(total_bytes) {}
  ByteBudget(const ByteBudget&) = delete;
  ByteBudget& operator=(const ByteBudget&) = delete;

  // One request's part. Used by one thread at a time.
  class Charge {
   public:
    Charge(ByteBudget& budget, const Principal& who)
        : budget_(budget), account_(who.account), is_privileged_(who.is_privileged) {}
    ~Charge() { budget_.give_back(account_, held_bytes_); }
    Charge(const Charge&) = delete;
    Charge& operator=(const Charge&) = delete;

    // Errors: unavailable, naming what is spent and its limit.
    Status grow(size_t bytes);
    // Gives back what is above `bytes`.
    void shrink_to(size_t bytes);
    size_t held_bytes() const { return held_bytes_; }
    // The most that this request could ever hold.
    size_t bytes_max() const;

   private:
    ByteBudget& budget_;
    const std::string account_;
    const bool is_privileged_;
    size_t held_bytes_ = 0;
  };

  struct Figures {
    size_t total_bytes = 0;
    size_t used_bytes = 0;
    size_t peak_bytes = 0;
    int64_t refused = 0;
  };
  Figures figures() const;

 private:
  Status take(const std::string& account, size_t share_bytes, size_t bytes);
  void give_back(const std::string& account, size_t bytes);

  const std::string what_;
  const size_t total_bytes_;
  mutable std::mutex mutex_;
  size_t used_bytes_ PARKD_GUARDED_BY(mutex_) = 0;
  size_t peak_bytes_ PARKD_GUARDED_BY(mutex_) = 0;
  int64_t refused_ PARKD_GUARDED_BY(mutex_) = 0;
  std::map<std::string, size_t> of_account_ PARKD_GUARDED_BY(mutex_);  // that hold something
};

}  // namespace parkd
