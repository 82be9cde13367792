#include "daemon/batches/file_batches.h"

#include <algorithm>
#include <utility>

#include "lib/base/guarded.h"
#include "lib/base/log.h"
#include "lib/base/text.h"
#include "lib/store/job_store.h"
#include "lib/store/wait_for.h"

namespace parkd {
namespace {

// How long nothing that may have changed is looked at: that a batch's last member has ended, or
// that another daemon died.
constexpr std::chrono::milliseconds kLookEvery{500};
// What cannot go on (the queue is full, a store is away) is tried again after the first of these,
// then after twice as long, up to the other.
constexpr std::chrono::milliseconds kFirstPause{250};
constexpr std::chrono::milliseconds kLongestPause{16'000};
// A step is a portion, or a pass over a file of hundreds of megabytes.
constexpr std::chrono::seconds kHold{20};

void tell(const Batch& before, const Batch& after) {
  const FileProgress& at = after.progress;
  if (at.stage == before.progress.stage) return;
  if (at.stage == FileStage::failed) {
    return log_info("batches.file_refused", {{"batch", after.id},
                                             {"file", after.spec.file->input_file_id},
                                             {"faults", at.faults.size()},
                                             {"first", at.faults.front().code}});
  }
  log_info("batches." + std::string(to_string(at.stage)), {{"batch", after.id},
                                                           {"tenant", after.spec.tenant},
                                                           {"model", at.model},
                                                           {"lines", at.lines},
                                                           {"members", after.total},
                                                           {"output_lines", at.output.lines},
                                                           {"error_lines", at.errors.lines}});
}

}  // namespace

FileBatches::FileBatches(const Config& config, JobStore& store, FileStore& files, Clock& clock)
    : store_(store),
      clock_(clock),
      name_(random_hex(8)),
      steps_({config, store, store, files, clock, stopping_}),
      models_(std::make_shared<ModelTable>()) {}

void FileBatches::set_models(std::shared_ptr<const ModelTable> models) {
  const std::lock_guard lock(mutex_);
  models_ = std::move(models);
}

std::shared_ptr<const ModelTable> FileBatches::models() const {
  const std::lock_guard lock(mutex_);
  return models_;
}

void FileBatches::start() {
  thread_ = Thread({"batches", 0}, [this] { run(); });
}

void FileBatches::begin_stop() {
  stopping_ = true;
  inbox_.close();
}

void FileBatches::join() {
  begin_stop();
  thread_.join();
}

void FileBatches::run() {
  while (!stopping_) {
    const bool is_more = work_on_next();
    for (const std::optional<Batch>& dropped :
         is_more ? inbox_.take_all() : inbox_.wait_all(kLookEvery)) {
      if (dropped && !stopping_) drop(*dropped);
    }
  }
}

bool FileBatches::work_on_next() {
  auto next = ask();
  if (next.ok() && !*next && !served_.empty()) {
    served_.clear();  // another round
    next = ask();
  }
  const Status status = next.status();
  if (!status.ok() && status.message() != error_ && !stopping_) {
    log_warn("batches.not_looked_at", {{"error", status.to_string()}});
  }
  error_ = status.message();
  if (!next.ok() || !*next || stopping_) return false;
  take_step(**next);
  return true;
}

Result<std::optional<Batch>> FileBatches::ask() {
  BatchWorkRequest request;
  request.daemon = name_;
  request.hold = kHold;
  const SteadyTime now = clock_.steady_now();
  for (const auto& [id, wait] : waiting_batches_) {
    if (now < wait.until) request.passed_over.push_back(id);
  }
  request.tenants_passed_over.assign(served_.begin(), served_.end());
  for (const auto& [tenant, wait] : full_tenants_) {
    if (now < wait.until) request.tenants_passed_over.push_back(tenant);
  }
  return wait_for<std::optional<Batch>>(
      [&](auto done) { store_.next_batch_work(std::move(request), std::move(done)); });
}

void FileBatches::take_step(const Batch& batch) {
  const std::string& tenant = batch.spec.tenant;
  // Whatever goes wrong with one batch, the others go on.
  const auto after = guarded<Batch>([&] { return steps_.take(batch, models()); });
  if (batch.progress.stage <= FileStage::expanding) served_.insert(tenant);
  if (after.ok()) {
    waiting_batches_.erase(batch.id);
    full_tenants_.erase(tenant);
    tell(batch, *after);
    if (after->progress.stage >= FileStage::ended) ended_();
  } else if (after.status().code() == StatusCode::exhausted) {
    Wait& full = full_tenants_[tenant];
    wait(full, batch, after.status());
    // Another of its batches, of another model, may have room: that is tried before this one.
    Wait& own = waiting_batches_[batch.id];
    own.until = full.until + full.pause;
    own.why = full.why;
  } else {
    wait(waiting_batches_[batch.id], batch, after.status());
  }
}

void FileBatches::wait(Wait& wait, const Batch& batch, const Status& why) {
  if (stopping_) return;
  if (wait.why != why.message()) {
    log_info("batches.waits", {{"batch", batch.id}, {"why", why.to_string()}});
  }
  wait.pause = std::clamp(2 * wait.pause, kFirstPause, kLongestPause);
  wait.until = clock_.steady_now() + wait.pause;
  wait.why = why.message();
}

void FileBatches::drop(const Batch& batch) {
  const auto dropped = guarded<bool>([&]() -> Result<bool> {
    PARKD_RETURN_IF_ERROR(steps_.drop_results(batch));
    return true;
  });
  if (!dropped.ok()) {
    log_warn("batches.results_not_deleted",
             {{"batch", batch.id}, {"error", dropped.status().to_string()}});
  }
}

}  // namespace parkd
