#include "lib/model/model_outlook.h"

#include <algorithm>
#include <limits>
#include <optional>

#include "lib/base/main_memory.h"

namespace parkd {

Result<ModelOutlook> look_at_model(const ModelConfig& model) {
  const char* source = model.local_path.empty() ? "hf_id" : "local_path";
  ModelOutlook outlook;
  auto file = find_model_file(model.local_path, model.hf_id);
  if (!file.ok()) return Status(file.status()).with_param(source);
  outlook.file = *std::move(file);
  auto card = load_model_card(outlook.file.path);
  if (!card.ok()) return Status(card.status()).with_param(source);
  outlook.card = *std::move(card);
  const ModelParams& params = model.params;
  if (params.device == Device::cpu || params.kvcache_mem_cpu_mb) {
    PARKD_RETURN_IF_ERROR(check_main_memory(model));
  }
  outlook.kv = kv_shape_of(params, outlook.card->shape);
  outlook.kv_memory_mb = params.kv_memory_mb();
  outlook.on_cpu =
      unit_capacity(kv_capacity_blocks(outlook.kv_memory_mb, outlook.kv), model.limits.max_units);
  return outlook;
}

std::string describe(const ModelOutlook& outlook) {
  const ModelFile& file = outlook.file;
  std::string text = (file.hub ? file.hub->pinned_id() + ", " : "") + outlook.card->architecture +
                     ", " + outlook.card->weight_types + "; on the cpu " +
                     std::to_string(outlook.kv_memory_mb) + " MiB / " +
                     std::to_string(kv_block_bytes(outlook.kv)) +
                     " bytes a block = " + std::to_string(outlook.on_cpu.blocks.count) +
                     " units of " + std::to_string(outlook.kv.block_size) + " tokens";
  if (!outlook.card->left_out.empty()) text += "; left out: " + outlook.card->left_out;
  if (!outlook.on_cpu.warning.empty()) text += "; " + outlook.on_cpu.warning;
  return text;
}

KvShape kv_shape_of(const ModelParams& params, const ModelShape& shape) {
  KvShape kv;
  kv.dtype = params.dtype;
  kv.block_size = params.block_size;
  kv.n_kv_heads = shape.n_kv_heads;
  kv.head_dim = shape.head_dim;
  kv.n_layers = shape.n_layers;
  return kv;
}

Blocks units_max(std::optional<int64_t> max_units, int64_t n_devices) {
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();  // ids of blocks
  return {max_units ? std::min(kMost, ceil_div(*max_units, n_devices)) : kMost};
}

Result<UnitCapacity> device_capacity(const ModelConfig& model, const ModelShape& shape,
                                     int64_t memory_mb, int64_t n_devices,
                                     const std::string& memory) {
  std::optional<int64_t> max_units = model.limits.max_units;
  if (max_units) max_units = units_max(max_units, n_devices).count;
  const Blocks physical =
      memory_mb > 0 ? kv_capacity_blocks(memory_mb, kv_shape_of(model.params, shape)) : Blocks{0};
  UnitCapacity capacity = unit_capacity(physical, max_units);
  if (capacity.blocks.count >= 1) return capacity;
  return invalid("model " + model.name + ": no KV block fits into " + memory + " (" +
                 std::to_string(memory_mb) + " MiB)");
}

Status check_main_memory(const ModelConfig& model) {
  const int64_t memory_mb = main_memory_bytes() >> 20;
  const int64_t wanted_mb = model.params.kv_memory_mb();
  if (wanted_mb <= memory_mb) return {};
  const bool of_gpu = !model.params.kvcache_mem_cpu_mb && model.params.kvcache_mem_gpu_mb;
  const std::string given = of_gpu ? "kvcache_mem_gpu" : "kvcache_mem_cpu";
  return invalid_param(
      "params." + given,
      "value " + std::to_string(wanted_mb) + " (MiB) is more than the " +
          std::to_string(memory_mb) + " MiB of main memory that this process may have" +
          (of_gpu ? ", where the KV cache lies on the CPU: set kvcache_mem_cpu" : ": give less"));
}

}  // namespace parkd
