#include "daemon/models/model_loader.h"

#include <algorithm>

#include "daemon/models/default_sampling.h"
#include "lib/base/log.h"
#include "lib/model/content_hash.h"
#include "lib/model/model_card.h"
#include "lib/weights/model_file.h"

namespace parkd {
namespace {

constexpr std::chrono::seconds kProgressEvery{2};

EndpointOptions endpoint_options(const ModelConfig& model, const ModelCard& card, Blocks capacity) {
  EndpointOptions options;
  options.model = model.name;
  options.defaults.sampling = default_sampling(model.params, card.defaults);
  options.context_tokens = card.shape.context_tokens;
  options.block_size = model.params.block_size;
  options.capacity = capacity;
  options.max_num_seqs = model.params.max_num_seqs;
  options.tenants_share_prefixes = model.params.prefix_sharing == PrefixSharing::all;
  options.system_fingerprint = model_content_hash(card, model.params.dtype);
  return options;
}

}  // namespace

Result<LoadedModel> ModelLoader::load() {
  const auto started = std::chrono::steady_clock::now();
  PARKD_ASSIGN_OR_RETURN(const ModelFile file, find_model_file(model_.local_path, model_.hf_id));
  // The card keeps the file mapped: a cache that is tidied meanwhile takes nothing from this model.
  PARKD_ASSIGN_OR_RETURN(const std::shared_ptr<const ModelCard> card, load_model_card(file.path));
  if (file.hub) {
    log_info("model.found", {{"model", model_.name},
                             {"hf_id", model_.hf_id},
                             {"commit", file.hub->commit},
                             {"file", file.hub->file},
                             {"path", file.path}});
  }
  std::unique_lock<std::mutex> taking(device_memory_, std::defer_lock);
  if (model_.params.device != Device::cpu) taking.lock();
  PARKD_ASSIGN_OR_RETURN(ModelDevice device, choose_device(config_, model_, *card));
  if (!device.is_cuda) taking = {};
  auto loaded = load_on(card, device);
  if (!loaded.ok() && device.is_cuda) {
    PARKD_ASSIGN_OR_RETURN(device,
                           choose_cpu_instead(config_, model_, *card, device, loaded.status()));
    taking = {};
    loaded = load_on(card, device);
  }
  if (!loaded.ok()) return loaded;
  const auto took = std::chrono::steady_clock::now() - started;
  log_info(
      "parking lot pool initialized with " + std::to_string(device.n_workers) + " worker threads",
      {{"model", model_.name},
       {"backend", device.description},
       {"devices", loaded->port.capacity.size()},
       {"units_each", loaded->port.capacity.front().count},
       {"block_size", model_.params.block_size},
       {"max_num_seqs", model_.params.max_num_seqs},
       {"load_ms", std::chrono::duration_cast<std::chrono::milliseconds>(took).count()}});
  return loaded;
}

Result<LoadedModel> ModelLoader::load_on(const std::shared_ptr<const ModelCard>& card,
                                         ModelDevice& device) const {
  const auto endpoint = std::make_shared<const ModelEndpoint>(
      card, endpoint_options(model_, *card, device.largest()));
  ModelEntry entry;
  entry.endpoint = endpoint;
  entry.retention = model_.retention;
  entry.description = card->weight_types;
  if (!card->left_out.empty()) entry.description += "; left out: " + card->left_out;
  entry.weight_bytes = card->weight_bytes;
  entry.backend = device.description;
  entry.backend_reason = device.why;
  entry.device_refused = device.refused;
  reports_.card_ready(entry);

  EngineOptions options;
  options.block_size = model_.params.block_size;
  options.n_workers = device.n_workers;
  options.max_num_seqs = model_.params.max_num_seqs;
  options.step_tokens = std::max(config_.daemon.step_tokens, model_.params.max_num_seqs);
  options.prefill_chunk_tokens = model_.params.prefill_chunk_size.value_or(0);
  options.share_prefixes = model_.params.prefix_caching;
  options.thread_stack_bytes = static_cast<size_t>(model_.pool.thread_stack_size_bytes);
  options.on_result = reports_.on_result;
  options.on_loading = [this, &entry,
                        last = std::chrono::steady_clock::now()](int64_t loaded_bytes) mutable {
    const auto now = std::chrono::steady_clock::now();
    if (now - last < kProgressEvery) return;
    last = now;
    entry.loaded_bytes = loaded_bytes;
    reports_.card_ready(entry);
    log_info(
        "model.loading",
        {{"model", model_.name}, {"mb", loaded_bytes >> 20}, {"of_mb", entry.weight_bytes >> 20}});
  };
  LoadedModel loaded;
  for (const EngineDevice& each : device.devices) loaded.port.capacity.push_back(each.kv_blocks);
  PARKD_ASSIGN_OR_RETURN(loaded.engine,
                         make_engine(card, std::move(device.devices), std::move(options)));

  loaded.registration = {model_.name, endpoint->options().system_fingerprint,
                         endpoint->options().context_tokens};
  loaded.port.engine = loaded.engine.get();
  loaded.port.block_size = model_.params.block_size;
  loaded.port.max_num_seqs = model_.params.max_num_seqs;
  loaded.port.lot_places = model_.lot_jobs;
  loaded.port.interactive_reserve = model_.limits.interactive_reserve;
  if (model_.limits.timeout) loaded.port.run_timeout_default = *model_.limits.timeout;
  loaded.port.prepare = [endpoint](const Job& job) { return endpoint->prepare(job); };
  loaded.port.render = [endpoint](const EndedRun& run) { return endpoint->render(run); };
  return loaded;
}

}  // namespace parkd
