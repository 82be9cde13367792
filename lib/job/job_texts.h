// The short texts of a job, said once for all who look at each of them: the limit, UTF-8, the
// doors. metadata and body are JSON with limits of their own and are not among them.
#pragma once

#include <string>
#include <string_view>

#include "lib/job/job.h"

namespace parkd {

struct JobText {
  std::string_view name;  // of the field, in JSON and SQL
  std::string JobSpec::*text;
};

inline constexpr JobText kJobTexts[] = {
    {"endpoint", &JobSpec::endpoint},
    {"model", &JobSpec::model},
    {"tenant", &JobSpec::tenant},
    {"mailbox_key", &JobSpec::mailbox_key},
    {"custom_id", &JobSpec::custom_id},
    {"batch_id", &JobSpec::batch_id},
    {"idempotency_key", &JobSpec::idempotency_key},
};

}  // namespace parkd
