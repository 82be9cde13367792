#include "daemon/models/device_ladder.h"

#include <string_view>
#include <utility>
#include <vector>

#include "lib/backend/cuda_plan.h"
#include "lib/backend/self_check.h"
#include "lib/base/log.h"

namespace parkd {
namespace {

struct Rung {
  std::string_view name;
  bool graphs = false;
  bool tensor_cores = false;
};

// From the configured way down.
std::vector<Rung> rungs_of(const ModelParams& params) {
  std::vector<Rung> rungs;
  if (params.tensor_core_attention) rungs.push_back({"graphs and tensor cores", true, true});
  rungs.push_back({"graphs and plain attention", true, false});
  rungs.push_back({"no graphs and plain attention", false, false});
  return rungs;
}

MakeBackend maker_of(const ModelConfig& model, int32_t device, const Rung& rung) {
  return [dtype = model.params.dtype, device,
          rung](const ModelShape& shape) -> Result<std::unique_ptr<Backend>> {
    CudaBackendOptions options;
    options.shape = shape;
    options.dtype = dtype;
    options.device = device;
    options.graphs = rung.graphs;
    options.tensor_core_attention = rung.tensor_cores;
    return make_cuda_backend(options);
  };
}

// What came of one rung.
struct Trial {
  bool passed = false;
  bool answered = true;  // rightly or not; false: a step failed on a device that was well
  std::string verdict;
};

Result<Trial> try_rung(const ModelConfig& model, const ModelCard& card, const MakeBackend& make) {
  const SelfCheckOptions options = {model.params.dtype, model.params.block_size};
  const auto report = check_against_cpu(card, options, make);
  // What fails on this rung may not on a plainer one; what is missing is missing there too.
  if (report.status().code() == StatusCode::internal) {
    return Trial{false, false, "fails: " + report.status().message()};
  }
  if (!report.ok()) return report.status();
  if (!report->refusal.empty()) {
    return Trial{false, true, "does not answer as the cpu does: " + report->refusal};
  }
  return Trial{true, true,
               "answers as the cpu does (" + std::to_string(report->worst) + " of " +
                   std::to_string(report->limit) + " nat)"};
}

}  // namespace

Result<CheckedDevice> take_down_ladder(const ModelConfig& model, const ModelCard& card,
                                       const CudaDevice& device) {
  CheckedDevice checked;
  bool answered = false;
  for (const Rung& rung : rungs_of(model.params)) {
    const MakeBackend make = maker_of(model, device.id, rung);
    // Before the check: what is missing here says nothing of how the device answers.
    PARKD_ASSIGN_OR_RETURN(std::unique_ptr<Backend> backend, make(card.shape));
    PARKD_ASSIGN_OR_RETURN(Trial trial, try_rung(model, card, make));
    checked.verdict = std::move(trial.verdict);
    if (trial.passed) {
      if (!checked.degraded.empty()) checked.verdict += " with " + std::string(rung.name);
      checked.backend = std::move(backend);
      return checked;
    }
    log_error("model.device_refused", {{"model", model.name},
                                       {"device", name_of(device)},
                                       {"way", rung.name},
                                       {"error", checked.verdict}});
    if (!checked.degraded.empty()) checked.degraded += "; ";
    checked.degraded += name_of(device) + " with " + std::string(rung.name) + " " + checked.verdict;
    answered = answered || trial.answered;
  }
  if (!answered) return internal_error(checked.degraded);
  return checked;
}

}  // namespace parkd
