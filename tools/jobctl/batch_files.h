// The two files of `jobctl batch run`, and the small one beside the output that makes it resumable.
//
// A run is named by a random id in OUT.parkd-run, which is written and synced before anything is
// submitted and removed when the batch is complete; it keeps the run's deadline too, so that "+8h"
// counts from its beginning. One process at a time works on OUT (a lock on it). OUT only grows: a
// result line is appended once, and a torn last line (jobctl killed in the middle of a write) is
// cut off when the run goes on.
#pragma once

#include <cstdint>
#include <cstdio>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/status.h"
#include "tools/jobctl/progress.h"

namespace parkd::jobctl {

// One request line. The text stays in the file.
struct BatchLine {
  int64_t number = 0;  // in the file, from 1
  int64_t offset = 0;
  int64_t length = 0;
  std::string custom_id;
};

class BatchInput {
 public:
  // Reads every line. Errors: invalid, listing the lines that are not a JSON object, or lack or
  // repeat a custom_id.
  static Result<BatchInput> open(const std::string& path);

  const std::vector<BatchLine>& lines() const { return lines_; }
  Result<std::string> read(const BatchLine& line) const;
  uint64_t fingerprint() const { return fingerprint_; }  // of the whole file

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  std::unique_ptr<std::FILE, Close> file_;
  std::vector<BatchLine> lines_;
  uint64_t fingerprint_ = 0;
};

class BatchOutput {
 public:
  // Opens or continues `path`; `deadline` (RFC 3339 or empty) is kept where the run begins. Errors:
  // invalid when it holds lines that are not results of this input, or the run was begun with
  // another input; conflict when another jobctl writes to it.
  static Result<BatchOutput> open(const std::string& path, const BatchInput& input,
                                  const std::string& deadline);

  bool has(const std::string& custom_id) const { return done_.count(custom_id) > 0; }
  const BatchCounts& counts() const { return counts_; }  // of the lines that are there
  const std::string& run_id() const { return run_id_; }
  const std::string& deadline() const { return deadline_; }  // the run's; empty: none

  // Appends a result line (JSON, without its newline), once per custom_id.
  Status append(const std::string& custom_id, std::string line);
  // Everything is written: syncs it and ends the run.
  Status complete();

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  std::string path_;
  std::string run_id_;
  std::string deadline_;
  BatchCounts counts_;
  std::unique_ptr<std::FILE, Close> file_;
  std::set<std::string> done_;
};

}  // namespace parkd::jobctl
