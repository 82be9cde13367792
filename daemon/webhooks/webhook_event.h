// What a webhook says: that a batch has come to its end, and how. Pure, any thread.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "lib/job/batch.h"

namespace parkd {

// Requires a batch of a file that has ended, or whose file was refused: one event a batch, so its
// id is the batch's in another form, the same at each attempt and in each daemon.
struct WebhookEvent {
  std::string id;    // "evt_" and 32 hexadecimal digits; the header webhook-id
  std::string type;  // batch.completed, batch.failed, batch.expired, batch.cancelled
  std::string body;  // {"id", "object": "event", "type", "created_at", "data": {"id": the batch}}
};
WebhookEvent webhook_event(const Batch& batch);

// How long after the n-th attempt (from 1) failed the next one is: 5 s, then longer, up to 12
// hours; nothing where none follows, some 22 hours after the first. `jitter` in [0, 1): by so much
// of a fifth it is longer, so that many that failed together do not come together again. A
// receiver's Retry-After counts where it is longer, up to 12 hours.
std::optional<std::chrono::milliseconds> pause_after(int32_t n, double jitter,
                                                     std::chrono::seconds retry_after);

}  // namespace parkd
