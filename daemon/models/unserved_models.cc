#include "daemon/models/unserved_models.h"

#include "lib/base/json_writer.h"

namespace parkd {

std::optional<HealthNotice> unserved_models_notice(const Config& config, const StoreStats& stats) {
  constexpr int kNamed = 5;
  std::string list;
  int n_unserved = 0;
  for (const ModelDepth& depth : stats.models) {
    const int64_t waiting = depth.scheduled + depth.queued;
    if (waiting == 0 || depth.n_daemons > 0 || config.find_model(depth.model) != nullptr) continue;
    if (++n_unserved > kNamed) continue;
    list +=
        (list.empty() ? "" : ", ") + std::to_string(waiting) + " of " + json_string(depth.model);
  }
  if (n_unserved == 0) return std::nullopt;
  if (n_unserved > kNamed) list += ", and of " + std::to_string(n_unserved - kNamed) + " more";
  return HealthNotice{
      "model_not_served",
      "jobs wait for models that " +
          std::string(config.queue.backend == StoreBackend::postgres ? "no daemon"
                                                                     : "this daemon") +
          " has in its configuration: " + list +
          ". Put the model back under that name, or cancel them (jobctl list --model NAME, jobctl "
          "cancel ID)",
      false};
}

std::string unserved_reason(const Config& config, const ModelTable& models,
                            const std::string& model) {
  if (config.find_model(model) == nullptr) {
    return "this daemon's configuration has no model " + model +
           (config.queue.backend == StoreBackend::postgres ? "; another daemon may have it" : "");
  }
  const auto found = models.find(model);
  if (found == models.end()) return "";
  switch (found->second.state) {
    case ModelState::loading:
      return "model " + model + " is being loaded";
    case ModelState::unloaded:
      return "model " + model +
             " is not loaded: it waits for room in main memory (daemon.memory_mb, "
             "daemon.switch_wait_s)";
    case ModelState::unloading:
      return "model " + model + " makes room for another one";
    case ModelState::ready:
    case ModelState::failed:
      return "";
  }
  return "";
}

}  // namespace parkd
