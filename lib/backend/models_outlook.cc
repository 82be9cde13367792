#include "lib/backend/models_outlook.h"

#include <utility>

#include "lib/backend/cuda/cuda_backend.h"
#include "lib/backend/cuda_plan.h"
#include "lib/base/main_memory.h"
#include "lib/base/text.h"

namespace parkd {

int64_t memory_budget_bytes(const DaemonConfig& daemon) {
  if (daemon.memory_mb) return *daemon.memory_mb << 20;
  return available_memory_bytes() / 5 * 4;
}

bool is_surely_on_cpu(const ModelParams& params) {
  return params.device == Device::cpu ||
         (params.device == Device::automatic && !has_cuda_device(params.device_ids));
}

Status check_fits_alone(const std::string& model, const CpuMemory& memory, int64_t budget_bytes) {
  if (memory.total() <= budget_bytes) return {};
  return exhausted("model " + model + " takes " + describe(memory) + ", models may take " +
                   mib_text(budget_bytes) +
                   " (daemon.memory_mb; left out: four fifths of what is available at the start): "
                   "lower kvcache_mem_cpu or max_num_seqs, or raise daemon.memory_mb");
}

std::string describe_turns(const std::vector<ModelMemory>& models, int64_t budget_bytes) {
  int64_t total = 0;
  std::string list;
  for (const ModelMemory& model : models) {
    total += model.bytes;
    list += (list.empty() ? "" : ", ") + model.model + " " + mib_text(model.bytes);
  }
  if (total <= budget_bytes) return "";
  return "the models take " + mib_text(total) + " of main memory together (" + list +
         "), they may take " + mib_text(budget_bytes) +
         " (daemon.memory_mb): not all are loaded at a time, they take turns";
}

namespace {

std::string look_at_cuda(const Config& config, const ModelConfig& model, const ModelCard& card) {
  const auto devices = find_devices(model.params);
  if (!devices.ok()) return "not on CUDA: " + devices.status().message();
  const auto plan = plan_on(*devices, config, model, card);
  return plan.ok() ? describe(*plan) : plan.status().message();
}

}  // namespace

std::string describe(const ConfiguredModel& model, const Config& config) {
  const std::string text =
      describe(*model.outlook) + ", " + std::to_string(model.config->params.sequences_on_cpu()) +
      " sequences at once, steps of " + std::to_string(config.daemon.step_tokens_on_cpu()) +
      " tokens; " + describe(model.memory);
  return model.on_cuda.empty() ? text : text + "; " + model.on_cuda;
}

ModelsOutlook look_at_models(const Config& config) {
  const int64_t budget_bytes = memory_budget_bytes(config.daemon);
  ModelsOutlook found;
  std::vector<ModelMemory> on_cpu;
  for (const ModelConfig& model : config.models) {
    ConfiguredModel seen{&model, look_at_model(model), {}, {}, {}};
    if (seen.outlook.ok()) {
      seen.memory = cpu_memory_of(model, *seen.outlook->card, seen.outlook->on_cpu.blocks,
                                  config.daemon.step_tokens_on_cpu());
      if (is_surely_on_cpu(model.params)) {
        seen.fits = check_fits_alone(model.name, seen.memory, budget_bytes);
        on_cpu.push_back({model.name, seen.memory.total()});
      } else {
        seen.on_cuda = look_at_cuda(config, model, *seen.outlook->card);
      }
    }
    found.models.push_back(std::move(seen));
  }
  found.turns = describe_turns(on_cpu, budget_bytes);
  return found;
}

}  // namespace parkd
