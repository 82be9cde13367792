// What a daemon does for a batch of a file (lib/job/file_batch.h), each step as a plain call that
// waits for the stores. Each can be done again, by this daemon or another, wherever one died.
//
// One thread, which is none of the stores'.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "daemon/models/model_table.h"
#include "lib/base/clock.h"
#include "lib/base/status.h"
#include "lib/config/config.h"
#include "lib/job/batch.h"
#include "lib/openai/line_cutter.h"
#include "lib/store/batch_store.h"
#include "lib/store/file_store.h"

namespace parkd {

class ClientStore;
class ResultWalk;
struct FetchAnswer;

class BatchSteps {
 public:
  struct Parts {
    const Config& config;
    ClientStore& store;
    BatchStore& batches;
    FileStore& files;
    Clock& clock;
    const std::atomic<bool>& stopping;  // ends a step early
  };
  explicit BatchSteps(Parts parts) : parts_(parts) {}

  // The next step of the batch, and the batch after it: the file is read, one portion of its lines
  // is submitted, the results are counted. Errors: it is to be tried again later; exhausted, where
  // there is no room for more jobs.
  Result<Batch> take(const Batch& batch, std::shared_ptr<const ModelTable> models);

  // Deletes the messages of a batch whose result files are both deleted.
  Status drop_results(const Batch& batch);

 private:
  // Whether to go on.
  using LineVisitor = std::function<Result<bool>(const CutLine&)>;
  using Ids = std::set<std::string>;

  Result<FileProgress> checked_file(const Batch& batch, const ModelTable& models);
  // Of a retry: the file was checked for the batch before.
  Result<FileProgress> checked_retry(const Batch& batch);
  Result<Batch> expanded(const Batch& batch, std::shared_ptr<const ModelTable> models);
  Result<Batch> refused(const Batch& batch, const Status& conflict);
  Result<FileProgress> counted(const Batch& batch);

  // The custom_ids that need not run in a retry: those that were answered in the batches before.
  // Errors: not_found, where that cannot be known any more.
  Result<const Ids*> answered_before(const Batch& batch);
  // Calls `visit` with the lines from a byte of the file on. Errors: the visitor's; not_found,
  // corrupt: the file's.
  Status read_lines(const Batch& batch, int64_t from, const LineVisitor& visit);
  Result<FetchAnswer> fetch(const ResultWalk& walk);
  Result<Batch> find(const std::string& id, const std::string& tenant);
  Result<Batch> store(const Batch& batch, FileProgress progress);

  const Parts parts_;
  std::string answered_for_;  // the retry that answered_ was read for
  Ids answered_;
  std::map<std::string, SteadyTime> missing_since_;  // batches whose results do not all show
};

}  // namespace parkd
