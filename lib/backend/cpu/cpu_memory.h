// What a model takes of main memory when it runs on the CPU, computed before it is loaded. Counted:
// weights as they are packed, the whole KV memory, buffers of steps. Not counted: the store,
// requests, the files (mapped, and the kernel's to drop), memory of devices. Pure; any thread.
#pragma once

#include <cstdint>
#include <string>

#include "lib/base/json_writer.h"
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

// One line for a person.
std::string describe(const CpuMemory& memory);

// "bytes" and its parts, as members of the object that is open.
void write_members(JsonWriter& json, const CpuMemory& memory);

}  // namespace parkd
