// BatchRun: one run of `jobctl batch run`, from its plan to its summary.
//
// One loop: submit a chunk, collect what has finished, show progress. All that must survive lies in
// OUT and its mark (batch_output.h) and in the daemon; idempotency keys made of the run's id and
// the line make a repeated submit the same job, and the mailbox is read without taking, so any of
// the two sides can die anywhere. One thread.
#pragma once

#include <boost/json/fwd.hpp>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tools/jobctl/batch_input.h"
#include "tools/jobctl/batch_output.h"
#include "tools/jobctl/client.h"
#include "tools/jobctl/progress.h"
#include "tools/jobctl/run_batches.h"

namespace parkd::jobctl {

// Set by the signals that batch_stop.cc takes: the run stops soon.
bool is_stopping();

struct BatchRunOptions {
  std::string input;
  std::string output;
  std::string model;
  std::string priority = "low";
  std::string deadline;
  std::string retention;
  bool cancel_on_interrupt = false;
  std::string retry_failed;  // codes, comma between; "*": all; empty: none
};

class BatchRun {
 public:
  // retention_s 0: the daemon's.
  BatchRun(const BatchRunOptions& options, int64_t retention_s, Client& client, BatchInput input,
           BatchOutput output)
      : options_(options),
        retention_s_(retention_s),
        client_(client),
        input_(std::move(input)),
        output_(std::move(output)),
        batches_(client_, output_, retention_s_) {}
  BatchRun(const BatchRun&) = delete;
  BatchRun& operator=(const BatchRun&) = delete;

  // The process's exit code.
  int run();

 private:
  static constexpr size_t kChunkJobs = 64;  // submitted together, whole or not at all
  struct Submission {
    const BatchLine* line = nullptr;
    int attempt = 1;  // grows when an earlier one finished and its result is gone
  };

  void plan();
  // batch_submit.cc
  const std::string& model_of(const Submission& submission) const;
  Status check_models();
  Status open_batch();
  Status submit_chunk();
  std::string make_job(const Submission& submission, const std::string& text) const;
  Status chunk_accepted(const std::vector<Submission>& chunk, const Answer& answer);
  Status chunk_refused(const std::vector<Submission>& chunk, const Status& status);
  Status line_refused(const Submission& submission, const Status& status);
  Status end_line(const Submission& submission, int32_t http_status, std::string_view code,
                  const std::string& message, const std::string& param);
  Status end_rest(std::string_view code, const std::string& message);
  // batch_run.cc
  Status collect(int64_t wait_s);
  Status take_in(const boost::json::value& message, std::string_view raw);
  void resubmit_lost();
  bool is_done() const { return output_.counts().done == output_.counts().total; }
  Status look_at_models();
  void wait_for_daemon(const std::string& why);
  int give_up(const Status& status);
  int finish();
  Status remove_results();
  // batch_stop.cc
  int stop();
  bool wants_cancel() const;

  const BatchRunOptions& options_;
  const int64_t retention_s_;
  Client& client_;
  const BatchInput input_;
  BatchOutput output_;
  RunBatches batches_;
  std::deque<Submission> to_submit_;
  std::map<std::string, Submission> open_;      // submitted, by custom_id
  std::map<std::string, Submission> finished_;  // ... of which the daemon said: finished before
  std::string cursor_;
  bool models_can_run_ = false;     // at least one line's
  bool has_submitted_ = false;      // this process
  bool has_accepted_ = false;       // parkd, a line of this process
  size_t n_denied_ = 0;             // lines in turn, while none was accepted
  size_t chunk_jobs_ = kChunkJobs;  // fewer where a line is refused, or has no room
  int idle_waits_ = 0;              // since something last came
  int back_off_ = 1;                // tenths of a second until the daemon is tried again
  Progress progress_;
};

// From now on Ctrl-C and SIGTERM stop a run instead of killing the process.
void take_signals();

}  // namespace parkd::jobctl
