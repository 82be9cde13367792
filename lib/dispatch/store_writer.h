// StoreWriter: sees to it that endings and releases reach the store, however often it fails.
//
// Owned and used by the dispatcher's thread alone; what the store answers comes back through the
// dispatcher's inbox to on_finished() and on_released(). Endings wait a few ms for company and go
// as one commit. A batch the store could not take is kept and sent again with a growing delay, for
// as long as it takes: an ending is dropped only when the store has answered for it.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <unordered_set>
#include <vector>

#include "lib/base/clock.h"
#include "lib/base/status.h"
#include "lib/store/daemon_store.h"

namespace parkd {

// An item on its way, by the dispatcher's ticket.
template <class Item>
struct Outgoing {
  uint64_t ticket = 0;
  Item item;
  // An earlier batch with it was refused for a reason that may be its own: it is sent alone, so
  // that it fails no neighbours.
  bool alone = false;
  // Not sent again: see lose_all().
  bool lost = false;
};

struct FinishDone {
  uint64_t batch = 0;
  Result<std::vector<FinishAnswer>> answers;
};

struct ReleaseDone {
  uint64_t batch = 0;
  Result<std::vector<ReleaseAnswer>> answers;
};

template <class Answer>
struct Settled {
  uint64_t ticket = 0;
  Answer answer;
};

class StoreWriter {
 public:
  struct Options {
    Micros finish_delay;
    int32_t batch_max;
    Micros retry_min;
    Micros retry_max;
  };
  // The two callbacks push into the dispatcher's inbox; they are called on any thread.
  StoreWriter(Options options, DaemonStore& store, std::function<void(FinishDone)> finish_done,
              std::function<void(ReleaseDone)> release_done);

  void finish(uint64_t ticket, FinishItem item, SteadyTime now);
  void release(uint64_t ticket, ReleaseItem item);

  // Sends what is due. Returns whether anything was sent.
  bool flush(SteadyTime now);

  // The leases of all items are gone: what has not been sent is dropped, and what the store has got
  // will not be sent again. Returns the tickets of the latter: they are settled when the store has
  // answered, as lease_lost when it failed.
  std::unordered_set<uint64_t> lose_all();

  // The tickets the store has answered for; none when it failed and the batch will be sent again.
  std::vector<Settled<FinishAnswer>> on_finished(FinishDone done, SteadyTime now);
  std::vector<Settled<ReleaseAnswer>> on_released(ReleaseDone done, SteadyTime now);

  // When flush() has something to do, if nothing else comes.
  std::optional<SteadyTime> next_due() const;

  int64_t unstored() const;                     // items the store has not answered for
  bool in_trouble() const { return trouble_; }  // its last answer was a failure

 private:
  void note_failure(const Status& status, const char* verb, size_t items, SteadyTime now);

  const Options options_;
  DaemonStore& store_;
  const std::function<void(FinishDone)> finish_done_;
  const std::function<void(ReleaseDone)> release_done_;

  std::vector<Outgoing<FinishItem>> finishes_;   // not sent
  std::vector<Outgoing<ReleaseItem>> releases_;  // not sent
  std::optional<SteadyTime> oldest_finish_;      // when the first of finishes_ came
  std::map<uint64_t, std::vector<Outgoing<FinishItem>>> finishes_sent_;   // by batch
  std::map<uint64_t, std::vector<Outgoing<ReleaseItem>>> releases_sent_;  // by batch
  uint64_t next_batch_ = 1;

  bool trouble_ = false;
  Micros retry_delay_;
  SteadyTime not_before_{};  // back-off
};

}  // namespace parkd
