// What a job that comes by HTTP is held to before the store is given it, beside what its model says
// (daemon/models/job_check.h): whether work is taken, what reading it may take. Any thread.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

#include "daemon/api/asked.h"
#include "lib/base/status.h"
#include "lib/config/config.h"
#include "lib/http/byte_budget.h"

namespace parkd {

// Whether work is taken now at all. Errors: unavailable, with the reason; exhausted (the disk).
Status may_submit(const Config& config, const Asked& asked);

// A store's error of a single job, whose submitter wrote "deadline", not "jobs[0].deadline".
Status without_index(const Status& status);

// Grants what a request may take beside its body, until the charge goes. What it could never have
// is its own fault; what others have now, it may have later.
std::function<Status(size_t)> charged_to(const std::shared_ptr<ByteBudget::Charge>& charge);

}  // namespace parkd
