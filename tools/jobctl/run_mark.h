// The small file OUT.parkd-run beside the output of `jobctl batch run`: what makes the run
// resumable, and OUT known as a file that a run made.
//
// It is one JSON object, replaced whole and synced. One thread; the lock on OUT (batch_output.h) is
// the lock on it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/status.h"

namespace parkd::jobctl {

// What `batch run` was told, as it was given.
struct RunSettings {
  std::string model;
  std::string priority;
  std::string deadline;   // RFC 3339, counted from the run's beginning; empty: none
  std::string retention;  // empty: the daemon's
};

// A batch in parkd that the run's jobs are members of (run_batches.h).
struct RunBatch {
  std::string id;          // empty: about to be opened
  std::string deadline;    // RFC 3339, that it is opened with
  int64_t first_line = 0;  // lines from this number on, until the next one's, are its members
};

struct RunMark {
  std::string run_id;
  uint64_t input = 0;  // fingerprint of the whole file
  RunSettings settings;
  std::map<std::string, uint64_t> lines;  // custom_id -> fingerprint of the line
  std::vector<RunBatch> batches;          // in the order they were opened
  bool is_complete = false;
  // OUT is empty, or begins as one of these does; written before OUT's first line is.
  std::vector<std::string> heads;
  // Codes (or "*") of the failed lines that are about to be taken out of OUT, to run again: begun
  // and not known to be done.
  std::vector<std::string> taking_out;
};

// The mark's path beside the output `out`.
std::string mark_path(const std::string& out);

// Empty: there is none. Errors: invalid, when the file is something else.
Result<std::optional<RunMark>> read_mark(const std::string& out);
// Durable when it returns ok.
Status write_mark(const std::string& out, const RunMark& mark);

// The directory's entries are on disk when this returns.
Status sync_directory_of(const std::string& path);

}  // namespace parkd::jobctl
