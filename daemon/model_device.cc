#include "daemon/model_device.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "lib/backend/cpu/cpu_backend.h"
#include "lib/backend/cuda/cuda_backend.h"
#include "lib/backend/self_check.h"
#include "lib/base/log.h"
#include "lib/base/thread.h"
#include "lib/config/kv_capacity.h"

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

// Blocks of one of `n_devices` devices.
Result<Blocks> capacity_of(const ModelConfig& model, const ModelCard& card, int64_t memory_mb,
                           int64_t n_devices, const char* key) {
  KvShape kv;
  kv.dtype = model.params.dtype;
  kv.block_size = model.params.block_size;
  kv.n_kv_heads = card.shape.n_kv_heads;
  kv.head_dim = card.shape.head_dim;
  kv.n_layers = card.shape.n_layers;
  std::optional<int64_t> max_units = model.limits.max_units;
  if (max_units) *max_units = ceil_div(*max_units, n_devices);
  const UnitCapacity capacity = unit_capacity(kv_capacity_blocks(memory_mb, kv), max_units);
  if (!capacity.warning.empty()) {
    log_warn("model.max_units", {{"model", model.name}, {"warning", capacity.warning}});
  }
  if (capacity.blocks.count >= 1) return capacity.blocks;
  return invalid("model " + model.name + ": " + key + " of " + std::to_string(memory_mb) +
                 " MiB holds no KV block");
}

Result<ModelDevice> use_cpu(const Config& config, const ModelConfig& model, const ModelCard& card,
                            std::string why) {
  ModelDevice chosen;
  chosen.why = std::move(why);
  chosen.n_workers = model.pool.worker_threads.value_or(usable_cores());
  EngineDevice device;
  PARKD_ASSIGN_OR_RETURN(device.kv_blocks, capacity_of(model, card, model.params.kv_memory_mb(), 1,
                                                       "kvcache_mem_cpu"));
  CpuBackendOptions options;
  options.shape = card.shape;
  options.dtype = model.params.dtype;
  options.isa = isa_choice(config.daemon.cpu_isa);
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

int64_t kv_memory_mb(const Config& config, const ModelConfig& model, const ModelCard& card,
                     const CudaDevice& device, int32_t n_lanes) {
  if (model.params.kvcache_mem_gpu_mb) return *model.params.kvcache_mem_gpu_mb;
  CudaFootprint footprint;
  footprint.shape = card.shape;
  footprint.dtype = model.params.dtype;
  footprint.own_head = card.tensors.head.has_value();
  footprint.n_lanes = n_lanes;
  footprint.step_tokens = config.daemon.step_tokens;
  footprint.max_sequences = model.params.max_num_seqs;
  return std::max<int64_t>(0, cuda_kv_bytes(device, footprint) / kMib);
}

MakeBackend cuda_maker(const ModelConfig& model, int32_t device) {
  return [dtype = model.params.dtype,
          device](const ModelShape& shape) -> Result<std::unique_ptr<Backend>> {
    CudaBackendOptions options;
    options.shape = shape;
    options.dtype = dtype;
    options.device = device;
    return make_cuda_backend(options);
  };
}

Result<ModelDevice> use_cuda(const Config& config, const ModelConfig& model, const ModelCard& card,
                             const std::vector<CudaDevice>& found) {
  ModelDevice chosen;
  chosen.n_workers = model.pool.worker_threads.value_or(kCudaStreams);
  for (const CudaDevice& each : found) {
    EngineDevice device;
    PARKD_ASSIGN_OR_RETURN(
        device.kv_blocks,
        capacity_of(model, card, kv_memory_mb(config, model, card, each, chosen.n_workers),
                    static_cast<int64_t>(found.size()), "kvcache_mem_gpu"));
    const MakeBackend make = cuda_maker(model, each.id);
    const std::string name = "CUDA device " + std::to_string(each.id) + " (" + each.name + ")";
    const auto report = check_against_cpu(card, model.params.dtype, make);
    if (!report.ok()) {
      log_error("model.device_refused",
                {{"model", model.name}, {"device", name}, {"error", report.status().to_string()}});
      chosen.refused = true;
      chosen.why = name + " refused: " + report.status().message();
      chosen.devices.clear();
      return chosen;
    }
    PARKD_ASSIGN_OR_RETURN(device.backend, make(card.shape));
    if (!chosen.why.empty()) chosen.why += ", ";
    chosen.why += name + " answers as the cpu does (" + std::to_string(report->worst) + " of " +
                  std::to_string(report->limit) + " nat)";
    chosen.description = device.backend->describe();
    chosen.devices.push_back(std::move(device));
  }
  if (found.size() > 1) chosen.description += " x" + std::to_string(found.size());
  return chosen;
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
  if (chosen.ok() && !chosen->refused) return chosen;
  const std::string why = chosen.ok() ? chosen->why : chosen.status().message();
  if (wanted == Device::cuda) return unavailable(why);
  PARKD_ASSIGN_OR_RETURN(ModelDevice instead, use_cpu(config, model, card, why + ": using cpu"));
  instead.refused = chosen.ok();
  return instead;
}

}  // namespace

Result<ModelDevice> choose_device(const Config& config, const ModelConfig& model,
                                  const ModelCard& card) {
  PARKD_ASSIGN_OR_RETURN(ModelDevice chosen, choose(config, model, card));
  log_info("model.device", {{"model", model.name},
                            {"backend", chosen.description},
                            {"workers", chosen.n_workers},
                            {"why", chosen.why}});
  return chosen;
}

}  // namespace parkd
