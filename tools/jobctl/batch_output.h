// The output of `jobctl batch run`: OUT, and the run's mark beside it (run_mark.h).
//
// OUT only grows: a result line is appended once, and a torn last line (jobctl killed in the middle
// of a write) is cut off when the run goes on. What no run made is never changed: OUT must be
// absent, empty, or begin as the mark says. The only line ever taken out is a failed one that is to
// run again (retry), by a whole new file in OUT's place. One process at a time works on OUT (a lock
// on it).
//
// `-` is standard output: nothing is kept, and such a run cannot be continued.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/file_io.h"
#include "lib/base/status.h"
#include "tools/jobctl/batch_input.h"
#include "tools/jobctl/progress.h"
#include "tools/jobctl/run_mark.h"

namespace parkd::jobctl {

// Which failed lines run again: those with one of these codes; "*": all. Empty optional: none.
using RetryCodes = std::optional<std::vector<std::string>>;

class BatchOutput {
 public:
  // Opens or continues `path`. `settings` are kept where the run begins; `retry` begins the failed
  // lines of a complete run again, as a new run into the same OUT. Errors: invalid when OUT is not
  // this run's, is the input, or the input has changed and nothing was asked to run again; conflict
  // when another jobctl writes to it.
  static Result<BatchOutput> open(const std::string& path, const BatchInput& input,
                                  const RunSettings& settings, const RetryCodes& retry);

  bool has(const std::string& custom_id) const { return done_.count(custom_id) > 0; }
  const BatchCounts& counts() const { return counts_; }  // of the lines that are there
  const std::string& run_id() const { return mark_.run_id; }
  const std::string& deadline() const { return mark_.settings.deadline; }  // the run's; empty: none
  bool is_stream() const { return path_ == "-"; }
  const std::string& path() const { return path_; }
  const std::vector<RunBatch>& batches() const { return mark_.batches; }
  // Durable when it returns ok, where OUT is a file.
  Status set_batches(std::vector<RunBatch> batches);
  // What the user should know of how this run differs from what was asked; one line each.
  const std::vector<std::string>& notes() const { return notes_; }

  // Appends a result line (JSON, without its newline), once per custom_id.
  Status append(const std::string& custom_id, std::string line);
  bool is_complete() const { return mark_.is_complete; }
  // Everything is written: syncs it and ends the run.
  Status complete();
  // Nothing was submitted: takes away again what this process made.
  void abandon();

 private:
  BatchOutput() = default;
  Status open_locked();
  Status check_is_own(const std::optional<RunMark>& mark) const;
  Status read_results(const BatchInput& input);
  Status continue_run(const BatchInput& input, const RunSettings& settings,
                      const RetryCodes& retry);
  Status begin_again(const BatchInput& input, const RunSettings& settings,
                     const std::vector<std::string>& codes);
  Status take_out_failed();
  void begin(const BatchInput& input, const RunSettings& settings);

  std::string path_;
  RunMark mark_;
  BatchCounts counts_;
  OwnedFd file_;
  std::set<std::string> done_;
  std::vector<std::string> notes_;
  bool made_file_ = false;   // by this process
  bool began_here_ = false;  // the run
};

}  // namespace parkd::jobctl
