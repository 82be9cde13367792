#include "lib/dispatch/departures.h"

#include <utility>

#include "lib/base/log.h"

namespace parkd {

void Departures::handle(UnloadModel message) {
  ServedModel& served = table_.served_model(message.model);
  if (served.state == ModelState::ready) {
    served.leaving = true;
    log_info("model.unloading",
             {{"model", served.name}, {"running", served.jobs_in(LivePhase::running)}});
    finisher_.release_waiting(&served);
  }
  leaving_[message.model] = std::move(message.gone);
}

void Departures::handle(const KeepModel& message) {
  ServedModel& served = table_.served_model(message.model);
  if (leaving_.erase(message.model) == 0) return;  // it is gone already
  served.leaving = false;
  served.work_hint = true;
}

bool Departures::let_go() {
  bool acted = false;
  for (auto next = leaving_.begin(); next != leaving_.end();) {
    ServedModel& served = table_.served_model(next->first);
    if (served.jobs_in_flight() > 0 || served.asks_for_jobs()) {
      ++next;
      continue;
    }
    // Nothing of the engine is named any more once this is told.
    served.leaving = false;
    served.counters = served.counted();
    served.port.reset();
    served.pool.reset();
    served.lot.reset();
    if (served.state == ModelState::ready) served.state = ModelState::unloaded;
    next->second();
    next = leaving_.erase(next);
    acted = true;
  }
  return acted;
}

}  // namespace parkd
