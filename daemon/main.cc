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
#include "lib/backend/models_outlook.h"
#include "lib/base/kill_point.h"
#include "lib/base/log.h"
#include "lib/config/config.h"
#include "lib/config/token_file.h"
#include "lib/config/unit_files.h"
#include "lib/config/webhook_secret.h"

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
  if (!config.daemon.listen.empty()) {
    const std::string kept_out = parkd::unit_keeps_tcp_out("");
    if (!kept_out.empty()) std::cerr << "note: " << kept_out << "\n";
  }
  if (!config.daemon.tokens_file.empty()) {
    const auto tokens = parkd::load_tokens(config.daemon.tokens_file);
    if (tokens.ok()) {
      std::cerr << "note: " << tokens->entries().size() << " token(s) in "
                << config.daemon.tokens_file << "\n";
    } else {
      fault("key 'daemon.tokens_file': " + tokens.status().message());
    }
  }
  if (!config.daemon.webhooks.empty()) {
    const std::string kept_in = parkd::unit_keeps_webhooks_in("");
    if (!kept_in.empty()) std::cerr << "note: " << kept_in << "\n";
    const auto secrets = parkd::load_webhook_secrets(config.daemon.webhooks);
    if (!secrets.ok()) {
      fault("key '" + secrets.status().param() + "': " + secrets.status().message());
    }
  }
  const parkd::ModelsOutlook found = parkd::look_at_models(config);
  for (size_t i = 0; i < found.models.size(); ++i) {
    const parkd::ConfiguredModel& model = found.models[i];
    const std::string key = "models[" + std::to_string(i) + "]";
    if (!model.outlook.ok()) {
      const parkd::Status why = model.outlook.status();
      fault("key '" + key + "." + why.param() + "': " + why.message());
      continue;
    }
    std::cerr << "note: model " << model.config->name << ": " << describe(model, config) << "\n";
    if (!model.fits.ok()) fault("key '" + key + "': " + model.fits.message());
  }
  if (!found.turns.empty()) std::cerr << "note: " << found.turns << "\n";
  for (const std::string& note : parkd::config_notes(config)) std::cerr << "note: " << note << "\n";
  if (!sound) return kExitUsage;
  std::cout << path << " is sound: " << config.models.size() << " model(s), socket "
            << config.daemon.socket;
  for (const parkd::TcpAddress& address : config.daemon.listen) {
    std::cout << ", " << address.to_string();
  }
  std::cout << "\n";
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
