// parkd: the daemon's command line.
#include <signal.h>

#include <CLI/CLI.hpp>
#include <exception>
#include <iostream>
#include <string>
#include <vector>

#include "daemon/daemon.h"
#include "daemon/open_store.h"
#include "daemon/private_files.h"
#include "lib/backend/cpu/cpu_memory.h"
#include "lib/backend/cuda/cuda_backend.h"
#include "lib/base/kill_point.h"
#include "lib/base/log.h"
#include "lib/config/config.h"
#include "lib/model/model_outlook.h"

namespace {

constexpr int kExitOk = 0;
constexpr int kExitStartFailed = 1;  // the directory, the store or the socket cannot be had
constexpr int kExitUsage = 2;        // bad option or configuration
constexpr int kExitDeviceLost = 3;   // start it again

struct ServeOptions {
  std::string config_path = "/etc/parkd/parkd.yaml";
  bool strict = false;
  bool core_dumps = false;
};

int serve(parkd::Config config, const ServeOptions& options) {
  parkd::configure_log(config.daemon.log_level, config.daemon.log_format);
  for (const std::string& note : parkd::config_notes(config)) {
    parkd::log_info("config.note", {{"note", note}});
  }
  parkd::keep_files_private();
  if (!options.core_dumps) parkd::forbid_core_dumps();
  ::signal(SIGPIPE, SIG_IGN);  // a reader that goes away is an error code, not a death
  auto daemon = parkd::Daemon::start(std::move(config), options.config_path, options.strict);
  if (!daemon.ok()) {
    parkd::log_error("daemon.start_failed", {{"error", daemon.status().to_string()}});
    return kExitStartFailed;
  }
  return (*daemon)->run() == parkd::Daemon::End::device_lost ? kExitDeviceLost : kExitOk;
}

// Says what is wrong with it, or that nothing is; the exit code.
int check_config(const parkd::Config& config, const std::string& path) {
  bool sound = true;
  const auto fault = [&](const std::string& text) {
    std::cerr << "parkd: " << path << ": " << text << "\n";
    sound = false;
  };
  if (const parkd::Status store = parkd::check_store(config); !store.ok()) fault(store.message());
  const int64_t budget_bytes = parkd::memory_budget_bytes(config.daemon);
  std::vector<parkd::ModelMemory> all;
  for (size_t i = 0; i < config.models.size(); ++i) {
    const auto outlook = parkd::look_at_model(config.models[i]);
    const std::string model = "models[" + std::to_string(i) + "]";
    if (!outlook.ok()) {
      fault("key '" + model + "." + outlook.status().param() + "': " + outlook.status().message());
    } else {
      const parkd::ModelConfig& configured = config.models[i];
      const parkd::CpuMemory memory = cpu_memory_of(
          configured, *outlook->card, outlook->on_cpu.blocks, config.daemon.step_tokens);
      std::cerr << "note: model " << configured.name << ": " << describe(*outlook) << "; "
                << describe(memory) << "\n";
      const bool on_cpu = configured.params.device == parkd::Device::cpu ||
                          (configured.params.device == parkd::Device::automatic &&
                           !parkd::find_cuda_devices().ok());
      if (!on_cpu) continue;
      all.push_back({configured.name, memory.total()});
      const parkd::Status fits = check_fits_alone(configured.name, memory, budget_bytes);
      if (!fits.ok()) fault("key '" + model + "': " + fits.message());
    }
  }
  const std::string turns = describe_turns(all, budget_bytes);
  if (!turns.empty()) std::cerr << "note: " << turns << "\n";
  for (const std::string& note : parkd::config_notes(config)) std::cerr << "note: " << note << "\n";
  if (!sound) return kExitUsage;
  std::cout << path << " is sound: " << config.models.size() << " model(s), socket "
            << config.daemon.socket << "\n";
  return kExitOk;
}

int run(int argc, char** argv) {
  CLI::App app("parkd: durable batch LLM inference. Jobs come from jobctl or HTTP on its socket.");
  app.set_version_flag("--version", "parkd " PARKD_VERSION);
  ServeOptions options;
  std::string& path = options.config_path;
  bool check = false;
  bool print = false;
  bool list_kill_points = false;
  app.add_option("--config", path, "Configuration (YAML); config/parkd.yaml explains every key");
  app.add_flag("--strict", options.strict,
               "Refuse to start where others could read or replace what parkd stands on");
  app.add_flag("--core-dumps", options.core_dumps,
               "Leave the core dump limit as it is: a core holds prompts");
  app.add_flag("--check-config", check,
               "Say whether the configuration is sound and its models are there, and exit");
  app.add_flag("--print-config", print, "Print the effective configuration, and exit");
  app.add_flag("--list-kill-points", list_kill_points, "Names for PARKD_KILL_AT (test builds)");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kExitOk : kExitUsage;
  }
  if (list_kill_points) {
    for (const auto name : parkd::kill_point_names()) std::cout << name << "\n";
    return kExitOk;
  }
  auto config = parkd::load_config(path);
  if (!config.ok()) {
    std::cerr << "parkd: " << config.status().message() << "\n";
    return kExitUsage;
  }
  if (print) {
    std::cout << parkd::print_config(*config);
    return kExitOk;
  }
  if (check) return check_config(*config, path);
  return serve(std::move(config).value(), options);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << "parkd: " << error.what() << "\n";
    return kExitStartFailed;
  }
}
