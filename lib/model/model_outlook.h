// What a configured model comes to on this machine, as far as it can be said without loading a
// weight: its file, what the file is, and how many units its KV memory holds on the CPU. For those
// who ask before a daemon starts (parkd --check-config, jobctl doctor) and, in parts, for the
// daemon that loads it. Takes milliseconds; any thread.
#pragma once

#include <memory>
#include <string>

#include "lib/base/status.h"
#include "lib/config/config.h"
#include "lib/config/kv_capacity.h"
#include "lib/model/model_card.h"
#include "lib/weights/model_file.h"

namespace parkd {

struct ModelOutlook {
  ModelFile file;
  std::shared_ptr<const ModelCard> card;
  KvShape kv;
  int64_t kv_memory_mb = 0;  // on the CPU
  UnitCapacity on_cpu;
};

// Errors: those of find_model_file and load_model_card with the param local_path or hf_id; those of
// check_main_memory where it is sure that the model runs on the CPU or kvcache_mem_cpu is given.
Result<ModelOutlook> look_at_model(const ModelConfig& model);

// One line for a person.
std::string describe(const ModelOutlook& outlook);

// The KV cache of a model of this shape.
KvShape kv_shape_of(const ModelParams& params, const ModelShape& shape);

// limits.max_units of one of `n_devices` devices; without a limit as many as there can be.
Blocks units_max(std::optional<int64_t> max_units, int64_t n_devices);

// Units of one of `n_devices` devices that has `memory_mb` for them; `memory` says in words where
// that comes from. Errors: invalid, where no block fits.
Result<UnitCapacity> device_capacity(const ModelConfig& model, const ModelShape& shape,
                                     int64_t memory_mb, int64_t n_devices,
                                     const std::string& memory);

// invalid with the param params.kvcache_mem_cpu (or _gpu, where that is what was given) when the
// model's KV memory on the CPU is more than all main memory that this process may have: mapped it
// can be, but a process that fills it is killed.
Status check_main_memory(const ModelConfig& model);

}  // namespace parkd
