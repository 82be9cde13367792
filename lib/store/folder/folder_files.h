// A FileStore in a directory that is one daemon's alone (the instance lock holds it): for embedded
// queues.
//
//   DIR/file-...           a file and its record (file_record.h), read-only from its rename on
//   DIR/kept/file-...      until when that file is kept, where that is longer than its record says
//   DIR/uploads/file-...   one that is not whole; what lies there at the opening is removed
//   DIR/clock              what the next process will know of the time (drop_clock.h)
//
// All that is known of files but their bytes is kept in RAM too. Two threads of its own do the
// work: an fsync of one upload keeps nobody else waiting.
#pragma once

#include <memory>
#include <string>

#include "lib/base/clock.h"
#include "lib/base/status.h"
#include "lib/store/file_store.h"

namespace parkd {

struct FolderFilesOptions {
  std::string dir;  // made where it is missing
  FileLimits limits;
};

// Reads what is there. A damaged file is left where it lies, and is a notice. `clock` outlives it.
// Errors: unavailable or exhausted, naming the path.
Result<std::unique_ptr<FileStore>> open_folder_files(FolderFilesOptions options, Clock& clock);

}  // namespace parkd
