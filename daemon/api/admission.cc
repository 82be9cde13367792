#include "daemon/api/admission.h"

#include <cstdint>
#include <string>

#include "daemon/health/disk_room.h"

namespace parkd {
// A durable queue refuses by what is left of the disk, not by counting.
Status may_submit(const Config& config, const Asked& asked) {
  PARKD_RETURN_IF_ERROR(check_disk_room(config, 0));
  return asked.may_accept;
}

Status without_index(const Status& status) {
  constexpr std::string_view kFirst = "jobs[0].";
  if (status.param().rfind(kFirst, 0) != 0) return status;
  std::string message = status.message();
  if (message.rfind(kFirst, 0) == 0) message.erase(0, kFirst.size());
  return Status(status).with_message(message).with_param(status.param().substr(kFirst.size()));
}

std::function<Status(size_t)> charged_to(const std::shared_ptr<ByteBudget::Charge>& charge) {
  return [charge](size_t bytes) -> Status {
    if (charge->held_bytes() + bytes > charge->bytes_max()) {
      return invalid("the request takes more than " + std::to_string(charge->bytes_max()) +
                     " bytes of memory to read, which is all that one user may have: send it in "
                     "pieces");
    }
    return charge->grow(bytes);
  };
}

}  // namespace parkd
