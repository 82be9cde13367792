// What a job is held to by the models that are here, whichever way it came: by HTTP, or out of a
// batch's file. It may tokenise the body: no thread that others wait for.
#pragma once

#include <memory>
#include <string_view>

#include "daemon/models/model_table.h"
#include "lib/base/status.h"
#include "lib/config/config.h"
#include "lib/http/principal.h"
#include "lib/job/job.h"

namespace parkd {

struct SubmitCheck {
  const Config& config;
  std::shared_ptr<const ModelTable> models;
  const Principal& who;
};

inline constexpr std::string_view kModelNotFound = "model_not_found";  // OpenAI's error.code

// Fills in tenant, model, retention and what the job is priced by. Errors: denied, invalid (param =
// the field; error code kModelNotFound where there is none of that name), unavailable (its model).
Status check_job(const SubmitCheck& check, JobSpec& spec);

// The same of a body that no model takes, or that cannot be read: it is refused when its turn
// comes.
void price_unread(JobSpec& spec);

}  // namespace parkd
