#include "lib/store/postgres/storable.h"

#include <utility>

#include "lib/base/json_writer.h"
#include "lib/base/text.h"
#include "lib/job/job_texts.h"
#include "lib/store/postgres/pg_text.h"

namespace parkd {
namespace {

// libpq takes a statement of up to 1 GB, a field of up to 1 GB; a body this size is of no use.
constexpr size_t kBodyBytesMax = size_t{64} << 20;

}  // namespace

Status check_storable(const std::vector<JobSpec>& jobs) {
  for (size_t i = 0; i < jobs.size(); ++i) {
    const JobSpec& spec = jobs[i];
    const auto check = [i](std::string_view name, const std::string& value, bool is_raw) {
      const std::string field = "jobs[" + std::to_string(i) + "]." + std::string(name);
      if (!is_valid_utf8(value)) return invalid_param(field, field + " is not UTF-8");
      if (is_raw && value.find('\0') != value.npos) {
        return invalid_param(field, field + " contains U+0000");
      }
      return Status();
    };
    for (const auto& [name, text] : kJobTexts) {
      PARKD_RETURN_IF_ERROR(check(name, spec.*text, text == &JobSpec::endpoint));
    }
    PARKD_RETURN_IF_ERROR(check("metadata", spec.metadata, true));
    PARKD_RETURN_IF_ERROR(check("body", spec.body, true));
  }
  return {};
}

std::string body_to_store(const Ending& ending, bool wrap) {
  return wrap && !ending.body.empty() ? json_string(readable_text(ending.body))
                                      : storable_json(ending.body);
}

Ending storable_ending(const Ending& ending) {
  if (ending.body.size() <= kBodyBytesMax) return ending;
  return unstorable(ending, std::string(failure::kTooLarge),
                    "the result has " + std::to_string(ending.body.size()) +
                        " bytes, the limit is " + std::to_string(kBodyBytesMax));
}

Ending unstorable(const Ending& ending, const std::string& code, const std::string& why) {
  Ending failed = ending;
  failed.outcome = Outcome::failed;
  failed.error_code = code;
  failed.error_message = why;
  failed.error_param.clear();
  failed.status_code = 500;
  failed.body.clear();
  return failed;
}

}  // namespace parkd
