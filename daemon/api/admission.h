// What a job that comes by HTTP is held to before the store is given it, by whichever URL it came:
// who may send it, whether its model can take it, what reading it may take. Blocking threads: it
// tokenises.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string_view>

#include "daemon/api/asked.h"
#include "daemon/models/model_table.h"
#include "lib/base/status.h"
#include "lib/config/config.h"
#include "lib/http/byte_budget.h"
#include "lib/http/principal.h"
#include "lib/job/job.h"

namespace parkd {

struct SubmitCheck {
  const Config& config;
  std::shared_ptr<const ModelTable> models;
  const Principal& who;
};

inline constexpr std::string_view kModelNotFound = "model_not_found";  // OpenAI's error.code

// Whether work is taken now at all. Errors: unavailable, with the reason; exhausted (the disk).
Status may_submit(const Config& config, const Asked& asked);

// Fills in tenant, model, retention and what the job is priced by. Errors: denied, invalid (param =
// the field; error code kModelNotFound where there is none of that name), unavailable (its model).
Status check_job(const SubmitCheck& check, JobSpec& spec);

// A store's error of a single job, whose submitter wrote "deadline", not "jobs[0].deadline".
Status without_index(const Status& status);

// Grants what a request may take beside its body, until the charge goes. What it could never have
// is its own fault; what others have now, it may have later.
std::function<Status(size_t)> charged_to(const std::shared_ptr<ByteBudget::Charge>& charge);

}  // namespace parkd
