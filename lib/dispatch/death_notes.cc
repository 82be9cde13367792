#include "lib/dispatch/death_notes.h"

#include <algorithm>
#include <utility>

#include "lib/base/check.h"
#include "lib/base/log.h"

namespace parkd {

void DeathNotes::report(DeathReport report, std::function<void()> noted) {
  PARKD_CHECK(!pending(), "one death at a time");
  report_ = std::move(report);
  noted_ = std::move(noted);
  asked_ = false;
}

bool DeathNotes::send_if_due() {
  const auto due = next_due();
  if (!due || clock_.steady_now() < *due) return false;
  asked_ = true;
  store_.note_deaths(*report_, [in = inbox_](Result<DeathsAnswer> answer) {
    in->push(DeathsNoted{std::move(answer)});
  });
  return true;
}

std::optional<SteadyTime> DeathNotes::next_due() const {
  if (!pending() || asked_) return std::nullopt;
  return not_before_;
}

void DeathNotes::handle(DeathsNoted message) {
  const Status status = message.answer.status();
  if (status.code() == StatusCode::unavailable) {
    asked_ = false;
    retry_delay_ =
        std::clamp<Micros>(retry_delay_ * 2, options_.store_retry_min, options_.store_retry_max);
    not_before_ = clock_.steady_now() + retry_delay_;
    log_warn("store.retry", {{"verb", "note_deaths"},
                             {"items", report_->present.size()},
                             {"error", status.to_string()},
                             {"retry_ms", retry_delay_.count() / 1000}});
    return;
  }
  if (status.ok()) {
    log_info("death.stored", {{"noted", report_->noted},
                              {"jobs", report_->present.size()},
                              {"suspects", message.answer->suspects},
                              {"quarantined", message.answer->quarantined}});
  } else {
    log_error("death.not_stored", {{"error", status.to_string()}});
  }
  report_.reset();
  std::exchange(noted_, nullptr)();
}

}  // namespace parkd
