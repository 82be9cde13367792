#include "daemon/reloads.h"

#include <string>

#include "lib/base/log.h"

namespace parkd {

void Reloads::note(const ReloadWords& words, const Status& status) {
  if (status.ok()) return health_.clear(words.notice);
  log_error(words.event, {{"error", status.to_string()}});
  const std::string where = status.param().empty() ? "" : status.param() + ": ";
  health_.raise({words.notice,
                 where + status.message() + ". Until then " + words.until_then +
                     ": mend the file, then systemctl reload parkd (SIGHUP)",
                 false});
}

}  // namespace parkd
