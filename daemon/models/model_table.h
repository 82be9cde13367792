// ModelTable: what the faces know of each configured model. An immutable value: the control thread
// replaces the whole table when a model changes state, readers on any thread hold a snapshot.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "lib/backend/cpu/cpu_memory.h"
#include "lib/dispatch/dispatcher_stats.h"
#include "lib/endpoint/model_endpoint.h"

namespace parkd {

// Its stays here, and in memory.
struct ModelStay {
  WallTime known_since{};  // the daemon began with it
  bool in_memory = false;  // it takes its memory, or is about to
  int64_t load_ms = 0;     // of the last load; 0: there was none
  int64_t loads = 0;       // since the start
  int64_t switches = 0;    // of them: that others had to make room for
  // Since when it has work and is not loaded.
  std::optional<WallTime> waits_since;
};

struct ModelEntry {
  ModelState state = ModelState::loading;
  std::string failure;                            // why it failed, or is not ready yet; else empty
  bool files_differ = false;                      // from those others answer under its name with
  bool tried_again = false;                       // failed: its load is
  std::shared_ptr<const ModelEndpoint> endpoint;  // once the file was read; null before
  std::string family;                             // "qwen3"
  std::string description;                        // of the weights: "Q4_1 x210, ..."
  int64_t weight_bytes = 0;                       // in the file
  int64_t loaded_bytes = 0;                       // of them, while the model is loading
  std::string backend;                            // "cpu avx512 bf16"; empty before it is chosen
  std::string backend_reason;                     // "no CUDA device: using cpu (...)"
  bool device_refused = false;                    // a CUDA device does not answer as the CPU does
  std::string degraded;  // why a device that is there is used less well than configured, or not
  // Once a device was chosen; zero before.
  int32_t n_devices = 0;
  int32_t n_lanes = 0;  // of each device
  int32_t step_tokens = 0;
  int32_t max_num_seqs = 0;           // of all devices
  bool max_num_seqs_derived = false;  // it was not configured
  std::chrono::seconds retention{0};

  CpuMemory memory;  // that it takes of main memory when it is loaded; zero on a device
  ModelStay stay;

  // It will not come while this daemon runs. (Files that differ are accepted by an operator.)
  bool is_hopeless() const { return state == ModelState::failed && !files_differ && !tried_again; }
};

using ModelTable = std::map<std::string, ModelEntry>;

}  // namespace parkd
