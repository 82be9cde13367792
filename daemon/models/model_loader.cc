#include "daemon/models/model_loader.h"

#include <algorithm>

#include "daemon/models/default_sampling.h"
#include "lib/backend/models_outlook.h"
#include "lib/base/log.h"
#include "lib/config/kv_capacity.h"
#include "lib/model/content_hash.h"
#include "lib/model/model_card.h"
#include "lib/weights/model_file.h"

namespace parkd {
namespace {

constexpr std::chrono::seconds kProgressEvery{2};

EndpointOptions endpoint_options(const ModelConfig& model, const ModelCard& card,
                                 const ModelDevice& device) {
  EndpointOptions options;
  options.model = model.name;
  options.defaults.sampling = default_sampling(model.params, card.defaults);
  options.context_tokens = card.shape.context_tokens;
  options.block_size = model.params.block_size;
  const PoolPart largest = largest_of(device.parts);
  options.capacity = largest.blocks;
  options.max_num_seqs = largest.sequences;
  options.tenants_share_prefixes = model.params.prefix_sharing == PrefixSharing::all;
  options.system_fingerprint = model_content_hash(card, model.params.dtype);
  return options;
}

}  // namespace

Result<OpenedModel> ModelLoader::open() const {
  PARKD_ASSIGN_OR_RETURN(const ModelFile file, find_model_file(model_.local_path, model_.hf_id));
  OpenedModel opened;
  // The card keeps the file mapped: a cache that is tidied meanwhile takes nothing from this model.
  PARKD_ASSIGN_OR_RETURN(opened.card, load_model_card(file.path));
  if (file.hub) {
    log_info("model.found", {{"model", model_.name},
                             {"hf_id", model_.hf_id},
                             {"commit", file.hub->commit},
                             {"file", file.hub->file},
                             {"path", file.path}});
  }
  opened.surely_on_cpu = is_surely_on_cpu(model_.params);
  const KvShape kv = kv_shape_of(model_.params, opened.card->shape);
  const UnitCapacity units =
      unit_capacity(kv_capacity_blocks(model_.params.kv_memory_mb(), kv), model_.limits.max_units);
  opened.memory =
      cpu_memory_of(model_, *opened.card, units.blocks, config_.daemon.step_tokens_on_cpu());
  if (opened.surely_on_cpu) {
    PARKD_ASSIGN_OR_RETURN(const ModelDevice device, choose_device(config_, model_, *opened.card));
    opened.entry = entry_of(opened.card, device);
  }
  opened.entry.retention = model_.retention;
  return opened;
}

Result<LoadedModel> ModelLoader::load(const OpenedModel& opened, int64_t room_bytes) const {
  const auto started = std::chrono::steady_clock::now();
  const ModelCard& card = *opened.card;
  if (was_written_over(card)) {
    return corrupt(
        "the files of model " + model_.name +
        " were written over since parkd read them: restart it to serve what is there now");
  }
  PARKD_ASSIGN_OR_RETURN(ModelDevice device, choose_device(config_, model_, card));
  const auto has_room = [&] { return device.is_cuda || opened.memory.total() <= room_bytes; };
  if (!has_room()) return LoadedModel();
  Result<LoadedModel> loaded = load_on(opened, device);
  if (!loaded.ok() && device.is_cuda) {
    PARKD_ASSIGN_OR_RETURN(device,
                           choose_cpu_instead(config_, model_, card, device, loaded.status()));
    if (!has_room()) return LoadedModel();
    loaded = load_on(opened, device);
  }
  if (!loaded.ok()) return loaded;
  const auto took = std::chrono::steady_clock::now() - started;
  log_info(
      "parking lot pool initialized with " + std::to_string(device.n_workers) + " worker threads",
      {{"model", model_.name},
       {"backend", device.description},
       {"devices", loaded->port.parts.size()},
       {"units_each", loaded->port.parts.front().blocks.count},
       {"block_size", model_.params.block_size},
       {"max_num_seqs", all_sequences(loaded->port.parts)},
       {"max_num_seqs_derived", device.derived},
       {"step_tokens", device.step_tokens},
       {"load_ms", std::chrono::duration_cast<std::chrono::milliseconds>(took).count()}});
  return loaded;
}

ModelEntry ModelLoader::entry_of(const std::shared_ptr<const ModelCard>& card,
                                 const ModelDevice& device) const {
  ModelEntry entry;
  entry.endpoint =
      std::make_shared<const ModelEndpoint>(card, endpoint_options(model_, *card, device));
  entry.retention = model_.retention;
  entry.description = card->weight_types;
  entry.family = card->architecture;
  if (!card->left_out.empty()) entry.description += "; left out: " + card->left_out;
  entry.weight_bytes = card->weight_bytes;
  entry.backend = device.description;
  entry.backend_reason = device.why;
  entry.device_refused = device.refused;
  entry.degraded = device.degraded;
  entry.n_devices = static_cast<int32_t>(device.parts.size());
  entry.n_lanes = device.n_workers;
  entry.step_tokens = device.step_tokens;
  entry.max_num_seqs = all_sequences(device.parts);
  entry.max_num_seqs_derived = device.derived;
  return entry;
}

Result<LoadedModel> ModelLoader::load_on(const OpenedModel& opened, ModelDevice& device) const {
  const std::shared_ptr<const ModelCard>& card = opened.card;
  log_info("model.device", {{"model", model_.name},
                            {"backend", device.description},
                            {"workers", device.n_workers},
                            {"why", device.why}});
  const auto entry_now = [&] {
    ModelEntry now = entry_of(card, device);
    if (!device.is_cuda) now.memory = opened.memory;
    return now;
  };
  ModelEntry entry = entry_now();
  reports_.loading(entry);

  EngineOptions options;
  options.block_size = model_.params.block_size;
  options.n_workers = device.n_workers;
  options.step_tokens = device.step_tokens;
  options.prefill_chunk_tokens = model_.params.prefill_chunk_size.value_or(0);
  options.share_prefixes = model_.params.prefix_caching;
  options.thread_stack_bytes = static_cast<size_t>(model_.pool.thread_stack_size_bytes);
  options.on_result = reports_.on_result;
  options.on_tokens = reports_.on_tokens;
  options.on_loading = [this, &entry,
                        last = std::chrono::steady_clock::now()](int64_t loaded_bytes) mutable {
    if (reports_.stopping()) return unavailable("parkd is stopping");
    const auto now = std::chrono::steady_clock::now();
    if (now - last < kProgressEvery) return Status();
    last = now;
    entry.loaded_bytes = loaded_bytes;
    reports_.loading(entry);
    log_info(
        "model.loading",
        {{"model", model_.name}, {"mb", loaded_bytes >> 20}, {"of_mb", entry.weight_bytes >> 20}});
    return Status();
  };
  LoadedModel loaded;
  loaded.main_memory_bytes = entry.memory.total();
  PARKD_ASSIGN_OR_RETURN(loaded.engine,
                         make_engine(card, std::move(device.devices), std::move(options)));
  // KV memory that was planned has been measured meanwhile.
  const std::vector<PoolPart> planned = device.parts;
  const std::vector<Blocks> kv_blocks = loaded.engine->kv_blocks();
  for (size_t i = 0; i < kv_blocks.size(); ++i) device.parts[i].blocks = kv_blocks[i];
  if (device.parts != planned) {
    entry = entry_now();
    entry.loaded_bytes = entry.weight_bytes;
    reports_.loading(entry);
  }

  loaded.port.parts = device.parts;
  const auto endpoint = entry.endpoint;
  loaded.registration = {model_.name, endpoint->options().system_fingerprint,
                         endpoint->options().context_tokens};
  loaded.port.engine = loaded.engine.get();
  loaded.port.block_size = model_.params.block_size;
  loaded.port.lot_places = model_.lot_places(all_sequences(loaded.port.parts));
  loaded.port.interactive_reserve = model_.limits.interactive_reserve;
  if (model_.limits.timeout) loaded.port.run_timeout_default = *model_.limits.timeout;
  loaded.port.prepare = [endpoint](const Job& job) { return endpoint->prepare(job); };
  loaded.port.render = [endpoint](const EndedRun& run) { return endpoint->render(run); };
  return loaded;
}

}  // namespace parkd
