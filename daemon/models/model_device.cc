#include "daemon/models/model_device.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "daemon/models/device_ladder.h"
#include "lib/backend/cpu/cpu_backend.h"
#include "lib/backend/cuda/cuda_backend.h"
#include "lib/base/log.h"
#include "lib/base/thread.h"
#include "lib/config/kv_capacity.h"
#include "lib/model/model_outlook.h"

namespace parkd {
namespace {

constexpr int32_t kCudaStreams = 2;  // so that one's prefill overlaps the other's decode
constexpr int64_t kMib = int64_t{1} << 20;

CpuIsaChoice isa_choice(CpuIsa isa) {
  switch (isa) {
    case CpuIsa::automatic:
      return std::nullopt;
    case CpuIsa::scalar:
      return cpu::Isa::scalar;
    case CpuIsa::avx2:
      return cpu::Isa::avx2;
    case CpuIsa::avx512:
      return cpu::Isa::avx512;
  }
  return std::nullopt;
}

// Blocks of one of `n_devices` devices; `memory` says in words where the bytes come from.
Result<Blocks> capacity_of(const ModelConfig& model, const ModelCard& card, int64_t memory_mb,
                           int64_t n_devices, const std::string& memory) {
  std::optional<int64_t> max_units = model.limits.max_units;
  if (max_units) *max_units = ceil_div(*max_units, n_devices);
  const Blocks physical = memory_mb > 0
                              ? kv_capacity_blocks(memory_mb, kv_shape_of(model.params, card.shape))
                              : Blocks{0};
  const UnitCapacity capacity = unit_capacity(physical, max_units);
  if (capacity.blocks.count >= 1 && !capacity.warning.empty()) {
    log_warn("model.max_units", {{"model", model.name}, {"warning", capacity.warning}});
  }
  if (capacity.blocks.count >= 1) return capacity.blocks;
  return invalid("model " + model.name + ": no KV block fits into " + memory + " (" +
                 std::to_string(memory_mb) + " MiB)");
}

Result<ModelDevice> use_cpu(const Config& config, const ModelConfig& model, const ModelCard& card,
                            std::string why) {
  ModelDevice chosen;
  chosen.why = std::move(why);
  chosen.n_workers = model.pool.worker_threads.value_or(usable_cores());
  PARKD_RETURN_IF_ERROR(check_main_memory(model));
  EngineDevice device;
  PARKD_ASSIGN_OR_RETURN(device.kv_blocks, capacity_of(model, card, model.params.kv_memory_mb(), 1,
                                                       "kvcache_mem_cpu"));
  CpuBackendOptions options;
  options.shape = card.shape;
  options.dtype = model.params.dtype;
  options.isa = isa_choice(config.daemon.cpu_isa);
  device.max_num_seqs = model.params.max_num_seqs;
  // More than one thread a lane only where workers leave cores unused.
  options.team_size = std::max(1, usable_cores() / chosen.n_workers);
  PARKD_ASSIGN_OR_RETURN(device.backend, make_cpu_backend(options));
  chosen.description = device.backend->describe();
  chosen.devices.push_back(std::move(device));
  return chosen;
}

// Those of device_ids, or the one with the most free memory.
Result<std::vector<CudaDevice>> find_devices(const ModelParams& params) {
  PARKD_ASSIGN_OR_RETURN(const std::vector<CudaDevice> all, find_cuda_devices());
  if (params.device_ids.empty()) {
    return std::vector<CudaDevice>{*std::max_element(
        all.begin(), all.end(),
        [](const auto& a, const auto& b) { return a.free_bytes < b.free_bytes; })};
  }
  std::vector<CudaDevice> wanted;
  for (const int32_t id : params.device_ids) {
    const auto found = std::find_if(all.begin(), all.end(),
                                    [id](const CudaDevice& device) { return device.id == id; });
    if (found == all.end()) {
      return unavailable("no CUDA device " + std::to_string(id) + " that can be used");
    }
    wanted.push_back(*found);
  }
  return wanted;
}

// Of each of `n_devices` devices.
Result<Blocks> cuda_capacity(const Config& config, const ModelConfig& model, const ModelCard& card,
                             const CudaDevice& device, int32_t n_lanes, int64_t n_devices) {
  const std::optional<int64_t> wanted_mb = model.params.kvcache_mem_gpu_mb;
  if (wanted_mb) return capacity_of(model, card, *wanted_mb, n_devices, "kvcache_mem_gpu");
  CudaFootprint footprint;
  footprint.shape = card.shape;
  footprint.dtype = model.params.dtype;
  footprint.own_head = card.tensors.head.has_value();
  footprint.n_lanes = n_lanes;
  footprint.step_tokens = config.daemon.step_tokens;
  footprint.max_num_seqs = model.params.max_num_seqs;
  const int64_t left_mb = std::max<int64_t>(0, cuda_kv_bytes(device, footprint) / kMib);
  return capacity_of(model, card, left_mb, n_devices,
                     "what the weights leave of " + std::to_string(device.free_bytes / kMib) +
                         " MiB that are free");
}

void add_clause(std::string& to, const std::string& clause) {
  if (!to.empty() && !clause.empty()) to += ", ";
  to += clause;
}

// Adds the device to the chosen ones, unless it answers rightly on no rung.
Status use_device(const Config& config, const ModelConfig& model, const ModelCard& card,
                  const CudaDevice& device, int64_t n_devices, ModelDevice& chosen) {
  EngineDevice added;
  PARKD_ASSIGN_OR_RETURN(added.kv_blocks,
                         cuda_capacity(config, model, card, device, chosen.n_workers, n_devices));
  PARKD_ASSIGN_OR_RETURN(CheckedDevice checked, take_down_ladder(model, card, device));
  added.backend = std::move(checked.backend);
  if (added.backend == nullptr) {
    chosen.refused = true;
    chosen.why = name_of(device) + " " + checked.verdict;
    chosen.degraded = checked.degraded;
    return {};
  }
  add_clause(chosen.why, name_of(device) + " " + checked.verdict);
  add_clause(chosen.degraded, checked.degraded);
  chosen.description = added.backend->describe();
  chosen.devices.push_back(std::move(added));
  return {};
}

Result<ModelDevice> use_cuda(const Config& config, const ModelConfig& model, const ModelCard& card,
                             const std::vector<CudaDevice>& found) {
  ModelDevice chosen;
  chosen.is_cuda = true;
  chosen.n_workers = model.pool.worker_threads.value_or(kCudaStreams);
  const auto n_devices = static_cast<int64_t>(found.size());
  for (const CudaDevice& device : found) {
    const Status status = use_device(config, model, card, device, n_devices, chosen);
    if (!status.ok()) {
      return Status(status.code(), name_of(device) + " cannot be used: " + status.message());
    }
    if (chosen.refused) return chosen;
  }
  std::vector<Blocks> blocks;
  for (const EngineDevice& device : chosen.devices) blocks.push_back(device.kv_blocks);
  const std::vector<int32_t> dealt = deal_sequences(model.params.max_num_seqs, blocks);
  for (size_t i = 0; i < dealt.size(); ++i) chosen.devices[i].max_num_seqs = dealt[i];
  if (n_devices > 1) chosen.description += " x" + std::to_string(n_devices);
  return chosen;
}

Result<ModelDevice> use_cpu_instead(const Config& config, const ModelConfig& model,
                                    const ModelCard& card, const std::string& why) {
  if (model.params.device != Device::cuda) {
    PARKD_ASSIGN_OR_RETURN(ModelDevice cpu, use_cpu(config, model, card, why + ": using cpu"));
    cpu.degraded = why;
    return cpu;
  }
  return unavailable("device: cuda of model " + model.name + ": " + why)
      .with_param("params.device");
}

Result<ModelDevice> choose(const Config& config, const ModelConfig& model, const ModelCard& card) {
  const Device wanted = model.params.device;
  if (wanted == Device::cpu) return use_cpu(config, model, card, "device: cpu");
  const auto found = find_devices(model.params);
  if (!found.ok()) {
    if (wanted == Device::cuda) {
      return invalid_param("params.device", "device: cuda of model " + model.name +
                                                " cannot be used: " + found.status().message());
    }
    return use_cpu(config, model, card,
                   "no CUDA device: using cpu (" + found.status().message() + ")");
  }
  auto chosen = use_cuda(config, model, card, *found);
  if (!chosen.ok()) return use_cpu_instead(config, model, card, chosen.status().message());
  if (!chosen->refused) return chosen;
  PARKD_ASSIGN_OR_RETURN(ModelDevice instead, use_cpu_instead(config, model, card, chosen->why));
  instead.refused = true;
  instead.degraded = chosen->degraded;
  return instead;
}

}  // namespace

Result<ModelDevice> choose_device(const Config& config, const ModelConfig& model,
                                  const ModelCard& card) {
  return choose(config, model, card);
}

Result<ModelDevice> choose_cpu_instead(const Config& config, const ModelConfig& model,
                                       const ModelCard& card, const ModelDevice& failed,
                                       const Status& why) {
  return use_cpu_instead(config, model, card,
                         failed.description + " cannot be used: " + why.message());
}

}  // namespace parkd
