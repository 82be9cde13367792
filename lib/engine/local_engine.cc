#include "lib/engine/local_engine.h"

#include <algorithm>
#include <utility>

#include "lib/base/check.h"
#include "lib/base/log.h"
#include "lib/engine/model_card.h"

namespace parkd {
namespace {

Status out_of_range(std::string name, int64_t value, int64_t least) {
  std::string message =
      name + " is " + std::to_string(value) + ", the least is " + std::to_string(least);
  return invalid_param(std::move(name), std::move(message));
}

Status check_options(const EngineOptions& options) {
  PARKD_CHECK(options.on_result != nullptr, "somebody wants the results");
  if (options.kv_blocks.count < 1) return out_of_range("kv_blocks", options.kv_blocks.count, 1);
  if (options.block_size < 1) return out_of_range("block_size", options.block_size, 1);
  if (options.n_workers < 1) return out_of_range("worker_threads", options.n_workers, 1);
  if (options.max_sequences < 1) return out_of_range("max_num_seqs", options.max_sequences, 1);
  if (options.step_tokens < 2) return out_of_range("step_tokens", options.step_tokens, 2);
  if (options.prefill_chunk_tokens < 0) {
    return out_of_range("prefill_chunk_tokens", options.prefill_chunk_tokens, 0);
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<LocalEngine>> LocalEngine::make(LoadedModel model,
                                                       const EngineOptions& options) {
  std::vector<std::unique_ptr<Lane>> lanes;
  for (int32_t i = 0; i < options.n_workers; ++i) {
    PARKD_ASSIGN_OR_RETURN(std::unique_ptr<Lane> lane, model.backend->make_lane());
    lanes.push_back(std::move(lane));
  }
  return std::unique_ptr<LocalEngine>(new LocalEngine(std::move(model), options, std::move(lanes)));
}

LocalEngine::LocalEngine(LoadedModel model, const EngineOptions& options,
                         std::vector<std::unique_ptr<Lane>> lanes)
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
                                                      std::move(lanes[static_cast<size_t>(i)])));
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

Result<std::unique_ptr<Engine>> make_engine(std::shared_ptr<const ModelCard> card,
                                            std::unique_ptr<Backend> backend,
                                            EngineOptions options) {
  PARKD_RETURN_IF_ERROR(check_options(options));
  LoadedModel model;
  model.shape = card->shape;
  PARKD_ASSIGN_OR_RETURN(model.weights, load_weights(*card, *backend));
  PARKD_RETURN_IF_ERROR(backend->allocate_kv(options.kv_blocks.count, options.block_size));
  log_info("engine.loaded", {{"model", card->name},
                             {"backend", backend->describe()},
                             {"weights", card->weight_types},
                             {"fingerprint", card->fingerprint},
                             {"workers", options.n_workers},
                             {"kv_blocks", options.kv_blocks.count},
                             {"block_size", options.block_size}});
  model.backend = std::move(backend);
  model.token_bytes = [tokenizer = card->tokenizer](TokenId token) {
    return tokenizer->token_bytes(token);
  };
  PARKD_ASSIGN_OR_RETURN(auto engine, LocalEngine::make(std::move(model), options));
  return std::unique_ptr<Engine>(std::move(engine));
}

}  // namespace parkd
