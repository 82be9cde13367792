// Daemon: everything wired together, from READY to the last synced result.
//
// The only place where store, dispatcher, engines and faces meet. Made and run on the main thread,
// which is the control thread; run() returns when the daemon has stopped.
#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <memory>
#include <string>

#include "daemon/api/api.h"
#include "daemon/batches/file_batches.h"
#include "daemon/death_watch.h"
#include "daemon/health/health_board.h"
#include "daemon/health/surroundings.h"
#include "daemon/models/model_keeper.h"
#include "daemon/open_store.h"
#include "daemon/progress_watch.h"
#include "daemon/reloads.h"
#include "daemon/webhooks/webhooks.h"
#include "lib/base/blocking_pool.h"
#include "lib/base/clock.h"
#include "lib/base/thread.h"
#include "lib/config/config.h"
#include "lib/dispatch/dispatcher.h"
#include "lib/dispatch/token_feed.h"
#include "lib/http/byte_budget.h"
#include "lib/http/http_server.h"
#include "lib/ipc/instance_lock.h"

namespace parkd {

class JobStore;

class Daemon {
 public:
  // Locks the state directory, opens the store, listens. Errors leave nothing behind.
  // `config_path`: the file it came from. `strict`: what is open to others is an error.
  static Result<std::unique_ptr<Daemon>> start(Config config, const std::string& config_path,
                                               bool strict);
  ~Daemon();
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;

  enum class End { stopped, device_lost };
  // Serves until SIGTERM or SIGINT has drained it (a second one stops at once), or until a device
  // was lost: then the process should be started again.
  End run();

 private:
  Daemon(Config config, InstanceLock lock);

  SharedStoreCallbacks callbacks();
  Status wire();
  void set_models(std::shared_ptr<const ModelTable> table);
  int blocking_threads() const;
  void observe_store();

  void serve();
  void wait_for_signal();
  void on_signal(int signal);
  Status read_tokens();
  void on_device_lost();
  void begin_stop();
  void wait_until_drained();
  void wait_until_answered(SteadyTime not_after);
  void purge_soon();
  void look_after_files_soon();
  void saw_files(const FileFigures& figures);
  void reload();
  void read_again_soon();
  void look_around_soon();
  void look_at_queue_soon();
  void feed_watchdog();
  void shut_down();

  const Config config_;
  InstanceLock lock_;
  std::unique_ptr<DeathWatch> deaths_;
  SystemClock clock_;
  ByteBudget bodies_;   // of requests; outlives io_, where the last of them may wait
  ByteBudget answers_;  // the same
  boost::asio::io_context io_;
  std::atomic<Dispatcher*> running_dispatcher_{nullptr};  // dispatcher_, for the store's threads
  TokenFeed tokens_;                                      // drained on the control thread
  std::unique_ptr<JobStore> store_;
  std::shared_ptr<FileStore> files_;  // null: there is none. Uploads that are cut off hold it, too
  std::unique_ptr<Webhooks> webhooks_;    // null where none are configured
  std::unique_ptr<FileBatches> batches_;  // null where there are no files
  std::unique_ptr<BlockingPool> blocking_;
  std::unique_ptr<Dispatcher> dispatcher_;
  std::unique_ptr<ModelKeeper> models_;
  HealthBoard health_;  // control thread
  std::unique_ptr<Reloads> reloads_;
  ProgressWatch progress_{clock_, config_.daemon.watchdog_stall};
  Surroundings surroundings_{config_, clock_, lock_, health_};
  std::unique_ptr<Api> api_;
  std::unique_ptr<HttpServer> server_;
  boost::asio::signal_set signals_;
  Thread dispatcher_thread_;

  int stop_signals_ = 0;
  End end_ = End::stopped;
  SteadyTime stop_not_after_{};  // set by the first signal; the second makes it sooner
  std::string purge_error_;
  std::string files_error_;
};

}  // namespace parkd
