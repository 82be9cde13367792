#include "lib/store/wakeups.h"

namespace parkd {

void tell(const StoreObserver& observer, const Wakeups& wakeups) {
  if (observer.work_available) {
    for (const std::string& model : wakeups.models) observer.work_available(model);
  }
  if (observer.message_stored) {
    for (const auto& [tenant, key] : wakeups.messages) observer.message_stored(tenant, key);
  }
  if (observer.cancel_requested) {
    for (const auto& [id, lease] : wakeups.cancels) observer.cancel_requested(id, lease);
  }
}

}  // namespace parkd
