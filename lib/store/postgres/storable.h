// What PostgreSQL can hold: which submissions are refused for it, and what stands in for a result
// it cannot take.
//
// Pure functions, any thread.
#pragma once

#include <string>
#include <vector>

#include "lib/base/status.h"
#include "lib/job/job.h"

namespace parkd {

// Text must be UTF-8; only U+0000 in names is carried over (encode_text). The first field that is
// not, as param = "jobs[i].field".
Status check_storable(const std::vector<JobSpec>& jobs);

// The body as a JSON text PostgreSQL can read; with `wrap` as a JSON string, for it is not JSON
// after all.
std::string body_to_store(const Ending& ending, bool wrap);

// The ending itself, or in its place a failed one when its body is larger than any field may be.
Ending storable_ending(const Ending& ending);
// What stands in for an ending that cannot be stored as it is.
Ending unstorable(const Ending& ending, const std::string& code, const std::string& why);

}  // namespace parkd
