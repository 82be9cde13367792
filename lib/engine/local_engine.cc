#include "lib/engine/local_engine.h"

#include <algorithm>
#include <utility>

#include "lib/base/check.h"
#include "lib/base/log.h"
#include "lib/model/model_card.h"

namespace parkd {
namespace {

Status out_of_range(std::string name, int64_t value, int64_t least) {
  std::string message =
      name + " is " + std::to_string(value) + ", the least is " + std::to_string(least);
  return invalid_param(std::move(name), std::move(message));
}

Status check_options(const EngineOptions& options) {
  PARKD_CHECK(options.on_result != nullptr, "somebody wants the results");
  if (options.block_size < 1) return out_of_range("block_size", options.block_size, 1);
  if (options.n_workers < 1) return out_of_range("worker_threads", options.n_workers, 1);
  if (options.max_num_seqs < 1) return out_of_range("max_num_seqs", options.max_num_seqs, 1);
  if (options.step_tokens < 2) return out_of_range("step_tokens", options.step_tokens, 2);
  if (options.prefill_chunk_tokens < 0) {
    return out_of_range("prefill_chunk_tokens", options.prefill_chunk_tokens, 0);
  }
  return {};
}

int32_t sequences_of(int32_t of_device, const EngineOptions& options) {
  return of_device > 0 ? of_device : options.max_num_seqs;
}

}  // namespace

LocalEngine::Device::Device(LoadedDevice loaded, const ModelShape& shape,
                            const EngineOptions& options)
    : backend(std::move(loaded.backend)),
      kv_cache(loaded.kv_blocks, options.block_size, options.share_prefixes),
      model(shape, std::move(loaded.weights)) {}

Result<std::unique_ptr<LocalEngine>> LocalEngine::make(EngineParts parts,
                                                       const EngineOptions& options) {
  std::unique_ptr<LocalEngine> engine(new LocalEngine);
  for (LoadedDevice& loaded : parts.devices) {
    const int32_t max_num_seqs = sequences_of(loaded.max_num_seqs, options);
    auto device = std::make_unique<Device>(std::move(loaded), parts.shape, options);
    const std::string prefix = "engine-" + std::to_string(engine->devices_.size()) + "-";
    for (int32_t i = 0; i < options.n_workers; ++i) {
      PARKD_ASSIGN_OR_RETURN(std::unique_ptr<Lane> lane, device->backend->make_lane());
      PARKD_ASSIGN_OR_RETURN(const ModelBuffers buffers,
                             device->model.prepare(*lane, options.step_tokens,
                                                   std::min(options.step_tokens, max_num_seqs)));
      WorkerOptions worker;
      worker.name = prefix + std::to_string(i);
      worker.step_tokens = options.step_tokens;
      worker.prefill_chunk_tokens = options.prefill_chunk_tokens;
      worker.max_num_seqs = max_num_seqs;
      worker.thread_stack_bytes = options.thread_stack_bytes;
      worker.token_bytes = parts.token_bytes;
      worker.on_result = options.on_result;
      worker.on_tokens = options.on_tokens;
      device->workers.push_back(std::make_unique<EngineWorker>(
          std::move(worker), device->model, device->kv_cache, std::move(lane), buffers));
    }
    engine->devices_.push_back(std::move(device));
  }
  return engine;
}

void LocalEngine::start(GenerationRequest request) {
  PARKD_CHECK(request.device >= 0 && request.device < static_cast<int32_t>(devices_.size()),
              "a request for a device that the engine has");
  const auto& workers = devices_[static_cast<size_t>(request.device)]->workers;
  const auto least = std::min_element(
      workers.begin(), workers.end(),
      [](const auto& a, const auto& b) { return a->load_tokens() < b->load_tokens(); });
  (*least)->start(std::move(request));
}

// There is no table of who runs what: each worker knows its own requests and ignores the rest,
// and a start() before this call on the same thread lies before it in the same inbox.
void LocalEngine::cancel(RequestId id) {
  for_each_worker([id](EngineWorker& worker) { worker.cancel(id); });
}

EngineStats LocalEngine::stats() const {
  EngineStats stats;
  for (const auto& device : devices_) {
    stats.blocks_in_use += device->kv_cache.in_use().count;
    stats.blocks_cached += device->kv_cache.cached().count;
  }
  for_each_worker([&stats](const EngineWorker& worker) {
    const WorkerStats of_worker = worker.stats();
    stats.running_sequences += of_worker.running_sequences;
    stats.steps += of_worker.steps;
    stats.prompt_tokens += of_worker.prompt_tokens;
    stats.shared_tokens += of_worker.shared_tokens;
    stats.output_tokens += of_worker.output_tokens;
    stats.steps_repeated += of_worker.steps_repeated;
    stats.steps_failed += of_worker.steps_failed;
    stats.last_step_us_ago = std::max(stats.last_step_us_ago, of_worker.quiet_us);
  });
  return stats;
}

void LocalEngine::stop() {
  for_each_worker([](EngineWorker& worker) { worker.stop(); });
}

Result<std::unique_ptr<Engine>> make_engine(const std::shared_ptr<const ModelCard>& card,
                                            std::vector<EngineDevice> devices,
                                            EngineOptions options) {
  PARKD_RETURN_IF_ERROR(check_options(options));
  PARKD_CHECK(!devices.empty(), "an engine has a device");
  EngineParts parts;
  parts.shape = card->shape;
  for (EngineDevice& device : devices) {
    if (device.kv_blocks.count < 1) return out_of_range("kv_blocks", device.kv_blocks.count, 1);
    LoadedDevice loaded;
    loaded.kv_blocks = device.kv_blocks;
    loaded.max_num_seqs = device.max_num_seqs;
    PARKD_ASSIGN_OR_RETURN(loaded.weights,
                           load_weights(*card, *device.backend, options.on_loading));
    PARKD_RETURN_IF_ERROR(device.backend->allocate_kv(device.kv_blocks.count, options.block_size));
    log_info("engine.loaded", {{"model", card->name},
                               {"backend", device.backend->describe()},
                               {"weights", card->weight_types},
                               {"fingerprint", card->fingerprint},
                               {"workers", options.n_workers},
                               {"kv_blocks", device.kv_blocks.count},
                               {"max_num_seqs", sequences_of(device.max_num_seqs, options)},
                               {"block_size", options.block_size},
                               {"weights_mb", device.backend->weight_bytes() >> 20},
                               {"kv_mb", device.backend->kv_bytes() >> 20}});
    loaded.backend = std::move(device.backend);
    parts.devices.push_back(std::move(loaded));
  }
  parts.token_bytes = [tokenizer = card->tokenizer](TokenId token) {
    return tokenizer->token_bytes(token);
  };
  PARKD_ASSIGN_OR_RETURN(auto engine, LocalEngine::make(std::move(parts), options));
  return std::unique_ptr<Engine>(std::move(engine));
}

}  // namespace parkd
