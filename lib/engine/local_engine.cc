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
  PARKD_CHECK(options.on_result != nullptr, "on_result is set");
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

// In the order of what memory they may have: weights are there, then what steps need, and KV memory
// may be all that is left.
Result<std::unique_ptr<LocalEngine::Device>> LocalEngine::make_device(
    LoadedDevice loaded, std::string name, const EngineParts& parts, const EngineOptions& options) {
  const Blocks planned = loaded.device.kv_blocks;
  const Blocks most = loaded.device.kv_blocks_max;
  const int32_t max_num_seqs = sequences_of(loaded.device.max_num_seqs, options);
  auto device = std::make_unique<Device>(parts.shape, std::move(loaded));
  Backend& backend = *device->backend;
  const Model& model = device->model;
  PARKD_RETURN_IF_ERROR(backend.allocate_kv(1, options.block_size));
  struct PreparedLane {
    std::unique_ptr<Lane> lane;
    ModelBuffers buffers;
  };
  std::vector<PreparedLane> lanes;
  for (int32_t i = 0; i < options.n_workers; ++i) {
    PARKD_ASSIGN_OR_RETURN(std::unique_ptr<Lane> lane, backend.make_lane());
    PARKD_ASSIGN_OR_RETURN(
        const ModelBuffers buffers,
        model.allocate(*lane, options.step_tokens, std::min(options.step_tokens, max_num_seqs)));
    lanes.push_back({std::move(lane), buffers});
  }
  Blocks kv_blocks = planned;
  if (most.count > 0) {
    PARKD_ASSIGN_OR_RETURN(kv_blocks.count, backend.fit_kv(most.count, options.block_size));
  } else {
    PARKD_RETURN_IF_ERROR(backend.allocate_kv(planned.count, options.block_size));
  }
  log_info("engine.memory", {{"backend", backend.describe()},
                             {"workers", options.n_workers},
                             {"max_num_seqs", max_num_seqs},
                             {"step_tokens", options.step_tokens},
                             {"block_size", options.block_size},
                             {"kv_blocks", kv_blocks.count},
                             {"kv_blocks_planned", planned.count},
                             {"kv_mb", backend.kv_bytes() >> 20}});
  for (PreparedLane& lane : lanes) {
    PARKD_RETURN_IF_ERROR(model.prepare(*lane.lane, lane.buffers));
  }
  device->kv_cache.emplace(kv_blocks, options.block_size, options.share_prefixes);
  for (PreparedLane& lane : lanes) {
    WorkerOptions worker;
    worker.name = name + "-" + std::to_string(device->workers.size());
    worker.step_tokens = options.step_tokens;
    worker.prefill_chunk_tokens = options.prefill_chunk_tokens;
    worker.max_num_seqs = max_num_seqs;
    worker.thread_stack_bytes = options.thread_stack_bytes;
    worker.token_bytes = parts.token_bytes;
    worker.on_result = options.on_result;
    worker.on_tokens = options.on_tokens;
    device->workers.push_back(std::make_unique<EngineWorker>(
        std::move(worker), model, *device->kv_cache, std::move(lane.lane), lane.buffers));
  }
  return device;
}

Result<std::unique_ptr<LocalEngine>> LocalEngine::make(EngineParts parts,
                                                       const EngineOptions& options) {
  std::unique_ptr<LocalEngine> engine(new LocalEngine);
  for (LoadedDevice& loaded : parts.devices) {
    PARKD_ASSIGN_OR_RETURN(
        std::unique_ptr<Device> device,
        make_device(std::move(loaded), "engine-" + std::to_string(engine->devices_.size()), parts,
                    options));
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
    stats.blocks_in_use += device->kv_cache->in_use().count;
    stats.blocks_cached += device->kv_cache->cached().count;
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

std::vector<Blocks> LocalEngine::kv_blocks() const {
  std::vector<Blocks> blocks;
  for (const auto& device : devices_) blocks.push_back(device->kv_cache->capacity());
  return blocks;
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
    PARKD_ASSIGN_OR_RETURN(loaded.weights,
                           load_weights(*card, *device.backend, options.on_loading));
    log_info("engine.loaded", {{"model", card->name},
                               {"backend", device.backend->describe()},
                               {"weights", card->weight_types},
                               {"fingerprint", card->fingerprint},
                               {"weights_mb", device.backend->weight_bytes() >> 20}});
    loaded.device = std::move(device);
    parts.devices.push_back(std::move(loaded));
  }
  parts.token_bytes = [tokenizer = card->tokenizer](TokenId token) {
    return tokenizer->token_bytes(token);
  };
  PARKD_ASSIGN_OR_RETURN(auto engine, LocalEngine::make(std::move(parts), options));
  return std::unique_ptr<Engine>(std::move(engine));
}

}  // namespace parkd
