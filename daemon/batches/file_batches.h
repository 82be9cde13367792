// FileBatches: the thread that brings batches of files on: it asks the store which is to be worked
// on, and takes the step that it needs (batch_steps.h). Where daemons share the store each has one,
// and what one leaves the others go on with.
//
// All but run() may be called from any thread.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>

#include "daemon/batches/batch_steps.h"
#include "daemon/models/model_table.h"
#include "lib/base/clock.h"
#include "lib/base/inbox.h"
#include "lib/base/thread.h"
#include "lib/base/thread_safety.h"
#include "lib/config/config.h"
#include "lib/job/batch.h"
#include "lib/store/file_store.h"

namespace parkd {

class JobStore;

class FileBatches {
 public:
  FileBatches(const Config& config, JobStore& store, FileStore& files, Clock& clock);
  ~FileBatches() { join(); }
  FileBatches(const FileBatches&) = delete;
  FileBatches& operator=(const FileBatches&) = delete;

  void set_models(std::shared_ptr<const ModelTable> models);
  void start();
  // Called on the thread when a batch has ended, or its file was refused. Before start().
  void on_end(std::function<void()> ended) { ended_ = std::move(ended); }
  // There may be something to do.
  void look() { (void)inbox_.push({}); }
  // Both result files are deleted: so are their lines. If this process dies meanwhile they stay
  // until they expire.
  void drop_results(Batch batch) { (void)inbox_.push(std::move(batch)); }

  // Begins no step any more; the one that is under way ends soon.
  void begin_stop();
  // After the stores have stopped, so that no verb keeps it.
  void join();

 private:
  void run();
  // Whether there may be more to do at once.
  bool work_on_next();
  Result<std::optional<Batch>> ask();
  void take_step(const Batch& batch);
  void drop(const Batch& batch);
  std::shared_ptr<const ModelTable> models() const;

  // What could not go on when it was last tried, and when it is tried again.
  struct Wait {
    SteadyTime until{};
    std::chrono::milliseconds pause{0};  // twice as long each time
    std::string why;
  };
  void wait(Wait& wait, const Batch& batch, const Status& why);

  JobStore& store_;
  Clock& clock_;
  const std::string name_;  // of this process, for the store
  std::atomic<bool> stopping_{false};
  BatchSteps steps_;
  std::function<void()> ended_ = [] {};
  Inbox<std::optional<Batch>> inbox_;  // a batch whose results are to be dropped, or a look
  std::map<std::string, Wait> waiting_batches_;
  std::map<std::string, Wait> full_tenants_;  // whose jobs the queue has no room for
  std::set<std::string> served_;              // tenants that had a step in this round
  std::string error_;                         // of the last look
  mutable std::mutex mutex_;
  std::shared_ptr<const ModelTable> models_ PARKD_GUARDED_BY(mutex_);
  Thread thread_;
};

}  // namespace parkd
