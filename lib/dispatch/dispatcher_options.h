// DispatcherOptions: the dispatcher's times and bounds, and what it has of the process around it.
// Constant after construction.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "lib/base/clock.h"

namespace parkd {

class RunningIds;
class TokenFeed;

struct DispatcherOptions {
  std::vector<std::string> models;                // known, and published, from the start
  std::chrono::milliseconds poll_interval{1000};  // asks for work unasked, jittered by +-25 %
  // So long per job it got, the claim after one that got some, but fewer than there was room for,
  // waits for company: jobs that come one by one are claimed at once, a stream of them in batches.
  // 0: at once.
  Micros claim_pause_per_job{0};
  Micros claim_pause_max{30'000};
  std::chrono::milliseconds finish_delay{3};  // endings wait this long for company
  int32_t finish_batch_max = 256;
  std::chrono::milliseconds overtake_max{5000};  // a parked job that does not fit is passed so long
  std::chrono::milliseconds drain_timeout{30'000};
  std::chrono::milliseconds retry_delay_min{1000};  // after a failed attempt; doubles
  std::chrono::milliseconds retry_delay_max{60'000};
  std::chrono::milliseconds store_retry_min{50};  // after the store failed; doubles
  std::chrono::milliseconds store_retry_max{5000};

  RunningIds* running_ids =
      nullptr;  // kept true to the engines; not owned; null: they are not kept
  // Is told which job a run is of, for who listens to its tokens; not owned; null: no run streams.
  TokenFeed* token_feed = nullptr;
  // Called once, on the dispatcher's thread, when a device was lost: the process should drain at
  // once and be started again.
  std::function<void()> device_lost;
};

// Runs a task on a thread that may wait (BlockingPool::run); returns false when it is dropped.
using RunBlocking = std::function<bool(std::function<void()>)>;

}  // namespace parkd
