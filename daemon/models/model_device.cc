#include "daemon/models/model_device.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "daemon/models/device_ladder.h"
#include "lib/backend/cpu/cpu_backend.h"
#include "lib/backend/cuda/cuda_backend.h"
#include "lib/backend/cuda_plan.h"
#include "lib/base/log.h"
#include "lib/base/thread.h"
#include "lib/config/kv_capacity.h"
#include "lib/model/model_outlook.h"

namespace parkd {
namespace {

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

void warn_of_max_units(const ModelConfig& model, const std::string& warning) {
  if (!warning.empty()) log_warn("model.max_units", {{"model", model.name}, {"warning", warning}});
}

Result<ModelDevice> use_cpu(const Config& config, const ModelConfig& model, const ModelCard& card,
                            std::string why) {
  ModelDevice chosen;
  chosen.why = std::move(why);
  chosen.n_workers = model.pool.worker_threads.value_or(usable_cores());
  PARKD_RETURN_IF_ERROR(check_main_memory(model));
  EngineDevice device;
  PARKD_ASSIGN_OR_RETURN(
      const UnitCapacity capacity,
      device_capacity(model, card.shape, model.params.kv_memory_mb(), 1, "kvcache_mem_cpu"));
  warn_of_max_units(model, capacity.warning);
  device.kv_blocks = capacity.blocks;
  device.max_num_seqs = model.params.sequences_on_cpu();
  chosen.step_tokens = std::max(config.daemon.step_tokens_on_cpu(), device.max_num_seqs);
  CpuBackendOptions options;
  options.shape = card.shape;
  options.dtype = model.params.dtype;
  options.isa = isa_choice(config.daemon.cpu_isa);
  // More than one thread a lane only where workers leave cores unused.
  options.team_size = std::max(1, usable_cores() / chosen.n_workers);
  PARKD_ASSIGN_OR_RETURN(device.backend, make_cpu_backend(options));
  chosen.description = device.backend->describe();
  chosen.add(std::move(device));
  return chosen;
}

void add_clause(std::string& to, const std::string& clause) {
  if (!to.empty() && !clause.empty()) to += ", ";
  to += clause;
}

// Adds the device to the chosen ones, unless it answers rightly on no rung.
Status use_device(const CudaShare& share, const ModelConfig& model, const ModelCard& card,
                  ModelDevice& chosen) {
  EngineDevice added;
  added.kv_blocks = share.kv_blocks;
  added.kv_blocks_max = share.kv_blocks_max;
  added.max_num_seqs = share.max_num_seqs;
  const std::string name = name_of(share.device);
  PARKD_ASSIGN_OR_RETURN(CheckedDevice checked, take_down_ladder(model, card, share.device));
  added.backend = std::move(checked.backend);
  if (added.backend == nullptr) {
    chosen.refused = true;
    chosen.why = name + " " + checked.verdict;
    chosen.degraded = checked.degraded;
    return {};
  }
  add_clause(chosen.why, name + " " + checked.verdict);
  add_clause(chosen.degraded, checked.degraded);
  chosen.description = added.backend->describe();
  chosen.add(std::move(added));
  return {};
}

Result<ModelDevice> use_cuda(const Config& config, const ModelConfig& model, const ModelCard& card,
                             const std::vector<CudaDevice>& found) {
  PARKD_ASSIGN_OR_RETURN(const CudaPlan plan, plan_on(found, config, model, card));
  ModelDevice chosen;
  chosen.is_cuda = true;
  chosen.n_workers = plan.n_lanes;
  chosen.step_tokens = plan.step_tokens;
  chosen.derived = plan.derived;
  for (const CudaShare& share : plan.devices) {
    warn_of_max_units(model, share.warning);
    const Status status = use_device(share, model, card, chosen);
    if (!status.ok()) {
      return Status(status.code(), name_of(share.device) + " cannot be used: " + status.message());
    }
    if (chosen.refused) return chosen;
  }
  if (found.size() > 1) chosen.description += " x" + std::to_string(found.size());
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

}  // namespace

Result<ModelDevice> choose_device(const Config& config, const ModelConfig& model,
                                  const ModelCard& card) {
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

Result<ModelDevice> choose_cpu_instead(const Config& config, const ModelConfig& model,
                                       const ModelCard& card, const ModelDevice& failed,
                                       const Status& why) {
  return use_cpu_instead(config, model, card,
                         failed.description + " cannot be used: " + why.message());
}

}  // namespace parkd
