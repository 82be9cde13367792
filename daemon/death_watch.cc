#include "daemon/death_watch.h"

#include <utility>

#include "lib/base/log.h"
#include "lib/ipc/crash_handler.h"
#include "lib/store/daemon_store.h"

namespace parkd {
namespace {

// Which queue the ids are of. The configuration carries no passwords.
std::string queue_name(const Config& config) {
  std::string name(to_string(config.queue.backend));
  if (config.queue.backend == StoreBackend::rocksdb) name += ":" + config.queue.rocksdb_dir;
  if (config.queue.backend == StoreBackend::postgres) name += ":" + config.queue.postgres_url;
  return name;
}

// Before any device was looked at.
int32_t sequences_of_all_models(const Config& config) {
  int32_t n = 0;
  for (const ModelConfig& model : config.models) n += model.params.sequences_at_most();
  return n;
}

}  // namespace

Result<std::unique_ptr<DeathWatch>> DeathWatch::start(const Config& config) {
  const std::string& dir = config.daemon.state_dir;
  const std::string queue = queue_name(config);
  PARKD_ASSIGN_OR_RETURN(LeftRunning left, take_left_running(dir, queue));
  if (config.queue.backend == StoreBackend::memory) {
    // Its jobs died too, and their ids are given out again.
    left = {};
    forget_left_running(dir);
  }
  PARKD_ASSIGN_OR_RETURN(auto running_ids,
                         RunningIds::create(dir, queue, sequences_of_all_models(config)));
  return std::unique_ptr<DeathWatch>(new DeathWatch(dir, std::move(left), std::move(running_ids)));
}

DeathWatch::DeathWatch(std::string state_dir, LeftRunning left,
                       std::unique_ptr<RunningIds> running_ids)
    : state_dir_(std::move(state_dir)),
      left_(std::move(left)),
      running_ids_(std::move(running_ids)) {
  install_crash_handler(running_ids_->word());
}

DeathWatch::~DeathWatch() {
  remove_crash_handler();
}

void DeathWatch::report_to(Dispatcher& dispatcher, const RunBlocking& run_blocking) {
  if (left_.present.empty()) return;
  log_warn("death.found",
           {{"jobs", left_.present.size()}, {"why", describe_death_word(left_.word)}});
  DeathReport report;
  report.noted = left_.word != kNoDeathNoted;
  for (const RunningId& running : left_.present) {
    report.present.push_back({running.id, running.lease});
  }
  dispatcher.report_left_behind(std::move(report), [dir = state_dir_, run_blocking] {
    // Not done when the process is stopping: then the next one reports again what the store knows.
    static_cast<void>(run_blocking([dir] { forget_left_running(dir); }));
  });
}

}  // namespace parkd
