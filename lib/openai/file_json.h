// Files as OpenAI's API shows them. Pure, any thread.
#pragma once

#include <string>
#include <vector>

#include "lib/job/stored_file.h"

namespace parkd {

// {"id", "object": "file", "bytes", "created_at", "expires_at", "filename", "purpose",
//   "status": "processed"}; times in seconds.
std::string render_file(const StoredFile& file);
// {"object": "list", "data": [...], "first_id", "last_id", "has_more"}
std::string render_files(const std::vector<StoredFile>& files, bool has_more);
// {"id", "object": "file", "deleted": true}
std::string render_deleted_file(const std::string& id);

}  // namespace parkd
