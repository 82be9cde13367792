// What the configured models come to on this machine before any is loaded: each one's file and
// memory, and whether they fit into what models may take of main memory, alone and together. For
// those who ask before a daemon starts (parkd --check-config, jobctl doctor, jobctl models check)
// and, in parts, for the daemon. Reads files and asks for devices; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lib/backend/cpu/cpu_memory.h"
#include "lib/base/status.h"
#include "lib/config/config.h"
#include "lib/model/model_outlook.h"

namespace parkd {

// daemon.memory_mb; left out: four fifths of what is available now. The rest is for what is not
// counted in CpuMemory.
int64_t memory_budget_bytes(const DaemonConfig& daemon);

// Whether the model is sure to run on the CPU; else a device is tried, and the CPU is taken where
// none will do.
bool is_surely_on_cpu(const ModelParams& params);

// Errors: exhausted, with both numbers, when the model does not fit into the budget alone.
Status check_fits_alone(const std::string& model, const CpuMemory& memory, int64_t budget_bytes);

struct ModelMemory {
  std::string model;
  int64_t bytes = 0;
};
// One line on models that fit alone but not all together; "" where they do.
std::string describe_turns(const std::vector<ModelMemory>& models, int64_t budget_bytes);

struct ConfiguredModel {
  const ModelConfig* config = nullptr;
  Result<ModelOutlook> outlook;
  // Where there is an outlook:
  CpuMemory memory;  // on the CPU
  Status fits;       // check_fits_alone() of one that is surely on the CPU
  std::string
      on_cuda;  // describe() of the CudaPlan, or why there is none; "" where it is surely not
};
// One line for a person. Requires an outlook.
std::string describe(const ConfiguredModel& model, const Config& config);

struct ModelsOutlook {
  std::vector<ConfiguredModel> models;  // in the configuration's order
  std::string turns;                    // describe_turns() of those surely on the CPU
};
// `config` outlives what is returned.
ModelsOutlook look_at_models(const Config& config);

}  // namespace parkd
