#include "lib/engine/local_engine.h"

#include <algorithm>
#include <utility>

#include "lib/base/log.h"

namespace parkd {

LocalEngine::LocalEngine(LoadedModel model, const EngineOptions& options)
    : backend_(std::move(model.backend)),
      kv_cache_(options.kv_blocks, options.block_size),
      model_(std::move(model.shape), std::move(model.weights)) {
  for (int32_t i = 0; i < options.n_workers; ++i) {
    WorkerOptions worker;
    worker.name = "engine-" + std::to_string(i);
    worker.step_tokens = options.step_tokens;
    worker.prefill_chunk_tokens = options.prefill_chunk_tokens;
    worker.max_sequences = options.max_sequences;
    worker.thread_stack_bytes = options.thread_stack_bytes;
    worker.token_bytes = model.token_bytes;
    worker.on_result = options.on_result;
    workers_.push_back(std::make_unique<EngineWorker>(std::move(worker), model_, kv_cache_,
                                                      backend_->make_lane()));
  }
}

void LocalEngine::start(GenerationRequest request) {
  const auto least = std::min_element(
      workers_.begin(), workers_.end(),
      [](const auto& a, const auto& b) { return a->load_tokens() < b->load_tokens(); });
  (*least)->start(std::move(request));
}

// Nobody keeps a table of who runs what: each worker knows its own requests and ignores the rest,
// and a start() before this call on the same thread lies before it in the same inbox.
void LocalEngine::cancel(RequestId id) {
  for (const auto& worker : workers_) worker->cancel(id);
}

EngineStats LocalEngine::stats() const {
  EngineStats stats;
  stats.blocks_in_use = kv_cache_.in_use().count;
  for (const auto& worker : workers_) {
    const WorkerStats of_worker = worker->stats();
    stats.running_sequences += of_worker.running_sequences;
    stats.steps += of_worker.steps;
    stats.prompt_tokens += of_worker.prompt_tokens;
    stats.output_tokens += of_worker.output_tokens;
    stats.last_step_us_ago = std::max(stats.last_step_us_ago, of_worker.quiet_us);
  }
  return stats;
}

void LocalEngine::stop() {
  for (const auto& worker : workers_) worker->stop();
}

}  // namespace parkd
