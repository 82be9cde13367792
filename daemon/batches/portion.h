// Portion: the jobs of some lines of a batch's file that follow each other, submitted together. One
// thread, which is none of the store's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "daemon/models/model_table.h"
#include "lib/base/status.h"
#include "lib/config/config.h"
#include "lib/http/principal.h"
#include "lib/job/batch.h"
#include "lib/job/job.h"
#include "lib/openai/batch_file.h"
#include "lib/openai/line_cutter.h"
#include "lib/store/client_store.h"

namespace parkd {

class Portion {
 public:
  Portion(const Batch& batch, const Config& config, std::shared_ptr<const ModelTable> models);

  void add(LineRequest line, const CutLine& at);
  bool is_full() const;
  bool is_empty() const { return jobs_.empty(); }

  // Submits those at the front, all or as many halves of them as the queue takes, and lets go of
  // them. Answers where the last of them ends in the file. Errors: exhausted, when there is no
  // room for one; conflict, when the batch takes no more; the store's.
  Result<int64_t> submit(ClientStore& store);

 private:
  std::vector<JobSpec>::iterator first(size_t n) {
    return jobs_.begin() + static_cast<std::ptrdiff_t>(n);
  }
  int64_t drop_first(size_t n);
  bool give_up_body(const Status& status);

  const Batch& batch_;
  const Config& config_;
  const std::shared_ptr<const ModelTable> models_;
  Principal who_;
  std::vector<JobSpec> jobs_;
  std::vector<int64_t> ends_;  // of their lines, in the file
  size_t n_bytes_ = 0;         // of their bodies, when they were added
};

}  // namespace parkd
