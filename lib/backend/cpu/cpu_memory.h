// What a model takes of main memory when it runs on the CPU, computed before it is loaded, and what
// all models of a daemon may take. Counted: weights as they are packed, the whole KV memory,
// buffers of steps. Not counted: the store, requests, the files (mapped, and the kernel's to drop),
// memory of devices. Pure but for what it asks the machine; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lib/base/status.h"
#include "lib/base/units.h"
#include "lib/config/config.h"
#include "lib/model/model_card.h"

namespace parkd {

struct CpuMemory {
  int64_t weights = 0;  // bytes, all of them
  int64_t kv = 0;
  int64_t buffers = 0;
  int64_t total() const { return weights + kv + buffers; }
};

// `kv_blocks`: of the model's KV memory on the CPU.
CpuMemory cpu_memory_of(const ModelConfig& model, const ModelCard& card, Blocks kv_blocks,
                        int32_t step_tokens);

// daemon.memory_mb; left out: four fifths of what is available now. The rest is for what is not
// counted.
int64_t memory_budget_bytes(const DaemonConfig& daemon);

// One line for a person.
std::string describe(const CpuMemory& memory);

// Errors: exhausted, with both numbers, when the model does not fit into the budget alone.
Status check_fits_alone(const std::string& model, const CpuMemory& memory, int64_t budget_bytes);

struct ModelMemory {
  std::string model;
  int64_t bytes = 0;
};
// One line on models that fit alone but not all together; "" where they do.
std::string describe_turns(const std::vector<ModelMemory>& models, int64_t budget_bytes);

}  // namespace parkd
