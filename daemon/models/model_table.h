// ModelTable: what the faces know of each configured model. An immutable value: the control thread
// replaces the whole table when a model changes state, readers on any thread hold a snapshot.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "lib/dispatch/dispatcher_stats.h"
#include "lib/endpoint/model_endpoint.h"

namespace parkd {

struct ModelEntry {
  ModelState state = ModelState::loading;
  std::string failure;                            // why it failed, or is not ready yet; else empty
  bool files_differ = false;                      // from those others answer under its name with
  std::shared_ptr<const ModelEndpoint> endpoint;  // once the file was read; null before
  std::string description;                        // of the weights: "Q4_1 x210, ..."
  int64_t weight_bytes = 0;                       // in the file
  int64_t loaded_bytes = 0;                       // of them, while the model is loading
  std::string backend;                            // "cpu avx512 bf16"; empty before it is chosen
  std::string backend_reason;                     // "no CUDA device: using cpu (...)"
  bool device_refused = false;                    // a CUDA device does not answer as the CPU does
  std::chrono::seconds retention{0};

  // It will not come while this daemon runs. (Files that differ are accepted by an operator.)
  bool is_hopeless() const { return state == ModelState::failed && !files_differ; }
};

using ModelTable = std::map<std::string, ModelEntry>;

}  // namespace parkd
