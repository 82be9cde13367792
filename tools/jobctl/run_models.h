// Whether the models that lines of `jobctl batch run` ask for can run, or ever will.
//
// A name is as a line gives it; empty: whichever is the default. One thread.
#pragma once

#include <optional>
#include <set>
#include <string>

#include "lib/base/status.h"
#include "tools/jobctl/client.h"

namespace parkd::jobctl {

// Whether one of `named` can. Errors: conflict, with the models' own messages, when none can;
// unavailable while one is being loaded, or parkd does not answer.
Status can_run(Client& client, const std::set<std::string>& named);

// Why one of `named` could not be loaded; nothing when that can be said of none.
Result<std::optional<std::string>> failed_model(Client& client, const std::set<std::string>& named);

}  // namespace parkd::jobctl
