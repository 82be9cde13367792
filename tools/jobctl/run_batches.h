// The batches in parkd that a run of `jobctl batch run` puts its jobs into: what `batch status` and
// `batch cancel` know it by.
//
// One batch, and another where that one takes no more: it is full, sealed, or its deadline has
// passed. They stand in the run's mark before a job names them, so a later process puts each line
// where it was put before. One thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lib/base/clock.h"
#include "lib/base/status.h"
#include "tools/jobctl/batch_output.h"
#include "tools/jobctl/client.h"

namespace parkd::jobctl {

// The batches that a word of the command line names: a batch's id, or the file OUT.parkd-run (or
// OUT) of a run. Errors: invalid, not_found.
Result<std::vector<std::string>> batches_named(const std::string& word);

class RunBatches {
 public:
  // What a refusal of lines says about the batch they named.
  enum class Refusal {
    not_the_batchs,  // it is about a line
    takes_no_more,   // open_next()
    cancelled,       // the batch was cancelled, and with it the run
  };

  RunBatches(Client& client, BatchOutput& output, int64_t retention_s)
      : client_(client), output_(output), retention_s_(retention_s) {}

  bool is_open() const;     // one is there that takes lines, as far as is known
  bool was_opened() const;  // one is there
  // Opens the one that takes the lines from `first_line` on. Errors: as Client::open_batch;
  // invalid with param "deadline" when the run's has passed.
  Status open_next(int64_t first_line);
  // The batch of a line that is sent for the first time, or again (its result was lost).
  // Requires was_opened().
  const std::string& batch_of(int64_t line_number, bool again) const;
  // Says what `refusal` of a submit means; asks parkd where it names a batch of ours.
  Result<Refusal> look_at(const Status& refusal);
  // No more lines will come. Idempotent.
  Status seal();
  // Ends what waits and stops what runs.
  Status cancel();
  // For people: "batch_1f..." or "batch_1f... and 2 more".
  std::string name() const;
  // What stands behind `jobctl batch cancel`: a batch, or the run's file where there are several.
  std::string word() const;

 private:
  Client& client_;
  BatchOutput& output_;
  const int64_t retention_s_;
  bool is_sealed_ = false;  // the last one, by this process
};

}  // namespace parkd::jobctl
