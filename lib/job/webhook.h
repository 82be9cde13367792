// How far the telling of a batch's end has come: a POST to a URL that its client gave
// (FileBatchSpec::webhook_url), signed as Standard Webhooks has it (daemon/webhooks). Plain values,
// any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "lib/base/clock.h"

namespace parkd {

enum class WebhookStatus : uint8_t {
  pending,    // the batch has not ended, or its end is still to be told
  delivered,  // the receiver has answered that it has it
  given_up,   // it is not tried again: last_error says why
};
std::string_view to_string(WebhookStatus status);

struct WebhookState {
  WebhookStatus status = WebhookStatus::pending;
  int32_t attempts = 0;                       // that came to an end
  std::optional<WallTime> next_attempt_at{};  // while the end is to be told; empty: it is not
  std::optional<WallTime> delivered_at{};
  std::string last_error{};  // of the last attempt that failed
  friend bool operator==(const WebhookState&, const WebhookState&) = default;
};

}  // namespace parkd
