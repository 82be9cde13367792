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

Result<Blocks> capacity_of(const ModelConfig& model, const ModelCard& card, int64_t memory_mb,
                           const char* key) {
  KvShape kv;
  kv.dtype = model.params.dtype;
  kv.block_size = model.params.block_size;
  kv.n_kv_heads = card.shape.n_kv_heads;
  kv.head_dim = card.shape.head_dim;
  kv.n_layers = card.shape.n_layers;
  const UnitCapacity capacity =
      unit_capacity(kv_capacity_blocks(memory_mb, kv), model.limits.max_units);
  if (!capacity.warning.empty()) {
    log_warn("model.max_units", {{"model", model.name}, {"warning", capacity.warning}});
  }
  if (capacity.blocks.count >= 1) return capacity.blocks;
  return invalid("model " + model.name + ": " + key + " of " + std::to_string(memory_mb) +
                 " MiB holds no KV block");
}

Result<ModelDevice> use_cpu(const Config& config, const ModelConfig& model, const ModelCard& card,
                            std::string why) {
  ModelDevice device;
  device.why = std::move(why);
  device.n_workers = model.pool.worker_threads.value_or(usable_cores());
  PARKD_ASSIGN_OR_RETURN(device.capacity,
                         capacity_of(model, card, model.params.kv_memory_mb(), "kvcache_mem_cpu"));
  CpuBackendOptions options;
  options.shape = card.shape;
  options.dtype = model.params.dtype;
  options.isa = isa_choice(config.daemon.cpu_isa);
  // More than one thread a lane only where workers leave cores unused.
  options.team_size = std::max(1, usable_cores() / device.n_workers);
  PARKD_ASSIGN_OR_RETURN(device.backend, make_cpu_backend(options));
  device.description = device.backend->describe();
  return device;
}

Result<CudaDevice> find_device(const ModelParams& params) {
  PARKD_ASSIGN_OR_RETURN(const std::vector<CudaDevice> devices, find_cuda_devices());
  if (!params.device_id) {
    return *std::max_element(devices.begin(), devices.end(), [](const auto& a, const auto& b) {
      return a.free_bytes < b.free_bytes;
    });
  }
  for (const CudaDevice& device : devices) {
    if (device.id == *params.device_id) return device;
  }
  return unavailable("no CUDA device " + std::to_string(*params.device_id) + " that can be used");
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
                             const CudaDevice& found) {
  ModelDevice device;
  device.n_workers = model.pool.worker_threads.value_or(kCudaStreams);
  PARKD_ASSIGN_OR_RETURN(
      device.capacity,
      capacity_of(model, card, kv_memory_mb(config, model, card, found, device.n_workers),
                  "kvcache_mem_gpu"));
  const MakeBackend make = cuda_maker(model, found.id);
  auto report = check_against_cpu(card, model.params.dtype, make);
  if (!report.ok()) {
    log_error(
        "model.device_refused",
        {{"model", model.name}, {"device", found.name}, {"error", report.status().to_string()}});
    device.refused = true;
    device.why = "CUDA device " + found.name + " refused: " + report.status().message();
    return device;
  }
  PARKD_ASSIGN_OR_RETURN(device.backend, make(card.shape));
  device.description = device.backend->describe();
  device.why = "CUDA device " + std::to_string(found.id) + " answers as the cpu does (" +
               std::to_string(report->worst) + " of " + std::to_string(report->limit) + " nat)";
  return device;
}

Result<ModelDevice> choose(const Config& config, const ModelConfig& model, const ModelCard& card) {
  const Device wanted = model.params.device;
  if (wanted == Device::cpu) return use_cpu(config, model, card, "device: cpu");
  const auto found = find_device(model.params);
  if (!found.ok()) {
    if (wanted == Device::cuda) {
      return invalid_param("params.device", "device: cuda of model " + model.name +
                                                " cannot be used: " + found.status().message());
    }
    return use_cpu(config, model, card,
                   "no CUDA device: using cpu (" + found.status().message() + ")");
  }
  auto device = use_cuda(config, model, card, *found);
  if (wanted == Device::cuda) {
    if (device.ok() && device->refused) return unavailable(device->why);
    return device;
  }
  if (device.ok() && !device->refused) return device;
  const std::string why = device.ok() ? device->why : device.status().message();
  PARKD_ASSIGN_OR_RETURN(ModelDevice instead, use_cpu(config, model, card, why + ": using cpu"));
  instead.refused = device.ok() && device->refused;
  return instead;
}

}  // namespace

Result<ModelDevice> choose_device(const Config& config, const ModelConfig& model,
                                  const ModelCard& card) {
  PARKD_ASSIGN_OR_RETURN(ModelDevice device, choose(config, model, card));
  log_info("model.device", {{"model", model.name},
                            {"backend", device.description},
                            {"workers", device.n_workers},
                            {"units", device.capacity.count},
                            {"why", device.why}});
  return device;
}

}  // namespace parkd
