#include "lib/backend/cuda_plan.h"

#include <algorithm>
#include <optional>

#include "lib/config/kv_capacity.h"
#include "lib/model/model_outlook.h"

namespace parkd {
namespace {

constexpr int64_t kMib = int64_t{1} << 20;

// Of one of `n_devices` devices whose lanes have room for so many sequences.
Result<UnitCapacity> capacity_of(const CudaDevice& device, const CudaPlan& plan,
                                 int32_t max_num_seqs, int64_t n_devices, const ModelConfig& model,
                                 const ModelCard& card) {
  const std::optional<int64_t> wanted_mb = model.params.kvcache_mem_gpu_mb;
  if (wanted_mb) {
    return device_capacity(model, card.shape, *wanted_mb, n_devices, "kvcache_mem_gpu");
  }
  CudaFootprint footprint;
  footprint.shape = card.shape;
  footprint.dtype = model.params.dtype;
  footprint.own_head = card.tensors.head.has_value();
  footprint.n_lanes = plan.n_lanes;
  footprint.step_tokens = std::max(plan.step_tokens, max_num_seqs);
  footprint.max_num_seqs = max_num_seqs;
  const int64_t left_mb = std::max<int64_t>(0, cuda_kv_bytes(device, footprint) / kMib);
  return device_capacity(model, card.shape, left_mb, n_devices,
                         "what the weights leave of " + std::to_string(device.free_bytes / kMib) +
                             " MiB that are free");
}

// The configured number dealt, or what each holds.
std::vector<int32_t> sequences_of(const std::vector<Blocks>& blocks, const ModelConfig& model,
                                  const ModelCard& card) {
  if (model.params.max_num_seqs) return deal_sequences(*model.params.max_num_seqs, blocks);
  std::vector<int32_t> held;
  for (const Blocks of_device : blocks) {
    held.push_back(sequences_held(of_device, model.params.block_size, card.shape.context_tokens));
  }
  return held;
}

}  // namespace

int32_t CudaPlan::max_num_seqs() const {
  int32_t sum = 0;
  for (const CudaShare& share : devices) sum += share.max_num_seqs;
  return sum;
}

std::string name_of(const CudaDevice& device) {
  return "CUDA device " + std::to_string(device.id) + " (" + device.name + ")";
}

Result<std::vector<CudaDevice>> find_devices(const ModelParams& params) {
  PARKD_ASSIGN_OR_RETURN(std::vector<CudaDevice> found, find_cuda_devices(params.device_ids));
  if (params.device_ids.empty()) {
    const CudaDevice chosen =
        *std::max_element(found.begin(), found.end(),
                          [](const auto& a, const auto& b) { return a.free_bytes < b.free_bytes; });
    for (const CudaDevice& device : found) {
      if (device.id != chosen.id) leave_cuda_device(device.id);
    }
    return std::vector<CudaDevice>{chosen};
  }
  for (const int32_t id : params.device_ids) {
    const auto is_it = [id](const CudaDevice& device) { return device.id == id; };
    if (std::any_of(found.begin(), found.end(), is_it)) continue;
    return unavailable("no CUDA device " + std::to_string(id) + " that can be used");
  }
  return found;
}

Result<CudaPlan> plan_on(const std::vector<CudaDevice>& devices, const Config& config,
                         const ModelConfig& model, const ModelCard& card) {
  CudaPlan plan;
  plan.n_lanes = model.pool.worker_threads.value_or(kCudaLanes);
  plan.step_tokens = config.daemon.step_tokens.value_or(kCudaStepTokens);
  plan.derived = !model.params.max_num_seqs.has_value();
  const auto n_devices = static_cast<int64_t>(devices.size());
  const auto blocks_beside = [&](const CudaDevice& device,
                                 int32_t max_num_seqs) -> Result<UnitCapacity> {
    auto capacity = capacity_of(device, plan, max_num_seqs, n_devices, model, card);
    if (capacity.ok()) return capacity;
    return Status(capacity.status().code(),
                  name_of(device) + " cannot be used: " + capacity.status().message());
  };
  // Beside buffers for the most that it may be; those of fewer sequences leave room for more KV.
  std::vector<Blocks> blocks;
  for (const CudaDevice& device : devices) {
    PARKD_ASSIGN_OR_RETURN(
        const UnitCapacity capacity,
        blocks_beside(device, model.params.max_num_seqs.value_or(kSequencesOfDeviceMax)));
    blocks.push_back(capacity.blocks);
  }
  const std::vector<int32_t> sequences = sequences_of(blocks, model, card);
  // The engine has one for all devices, with room for a decode of each.
  for (const int32_t n : sequences) plan.step_tokens = std::max(plan.step_tokens, n);
  for (size_t i = 0; i < devices.size(); ++i) {
    PARKD_ASSIGN_OR_RETURN(UnitCapacity capacity, blocks_beside(devices[i], sequences[i]));
    const Blocks most =
        model.params.kvcache_mem_gpu_mb ? Blocks{0} : units_max(model.limits.max_units, n_devices);
    plan.devices.push_back(
        {devices[i], capacity.blocks, most, sequences[i], std::move(capacity.warning)});
  }
  return plan;
}

std::string describe(const CudaPlan& plan) {
  std::string text;
  for (const CudaShare& share : plan.devices) {
    text += (text.empty() ? "on " : ", on ") + name_of(share.device) + " " +
            std::to_string(share.kv_blocks.count) + " units and " +
            std::to_string(share.max_num_seqs) + " sequences at once";
    if (!share.warning.empty()) text += " (" + share.warning + ")";
  }
  text += ", " + std::to_string(plan.n_lanes) + (plan.n_lanes == 1 ? " lane" : " lanes") +
          " a device, steps of " + std::to_string(plan.step_tokens) + " tokens";
  if (plan.derived) {
    text += "; max_num_seqs is left out, " + std::to_string(plan.max_num_seqs()) +
            " follow from the KV memory (not measured)";
  }
  return text;
}

}  // namespace parkd
