// jobctl doctor: what this machine, a configuration, a daemon and a database are good for, one line
// each: "ok", "note" or "FAIL", what was looked at, what was found.
#include <CLI/CLI.hpp>
#include <boost/json/value.hpp>
#include <chrono>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

#include "kernels/cpu/cpu_kernels.h"
#include "lib/backend/cuda/cuda_backend.h"
#include "lib/backend/models_outlook.h"
#include "lib/base/thread.h"
#include "lib/config/config.h"
#include "lib/config/unit_files.h"
#include "tools/jobctl/commands.h"
#include "tools/jobctl/http_client.h"
#include "tools/jobctl/json_fields.h"
#ifdef PARKD_HAVE_POSTGRES
#include "lib/store/postgres/dsn.h"
#include "lib/store/postgres/lockdown.h"
#include "lib/store/postgres/migrator.h"
#endif

namespace parkd::jobctl {
namespace {

constexpr std::chrono::seconds kAnswerTimeout{30};

class Report {
 public:
  void ok(const std::string& what, const std::string& found) { line("ok  ", what, found); }
  void note(const std::string& what, const std::string& found) { line("note", what, found); }
  void fail(const std::string& what, const Status& status) {
    failed_ = true;
    line("FAIL", what, status.message());
  }
  int exit_code() const { return failed_ ? kExitFailedOutcome : kExitOk; }

 private:
  static void line(const char* word, const std::string& what, const std::string& found) {
    std::cout << word << "  " << what << ": " << found << "\n";
  }
  bool failed_ = false;
};

// Whether there is a CUDA device.
bool look_at_devices(Report& report) {
  report.ok("cpu", std::string(cpu::to_string(cpu::detect_isa())) + ", " +
                       std::to_string(usable_cores()) + " cores");
  const auto devices = find_cuda_devices();
  if (!devices.ok()) {
    report.note("cuda", devices.status().message());
  } else {
    for (const CudaDevice& device : *devices) {
      report.ok("cuda device " + std::to_string(device.id),
                device.name + ", compute capability " + std::to_string(device.compute_major) + "." +
                    std::to_string(device.compute_minor) + ", " +
                    std::to_string(device.free_bytes >> 20) + " of " +
                    std::to_string(device.memory_bytes >> 20) + " MiB free");
    }
  }
  report.note("cuda",
              "parkd's CUDA code has never run on a GPU; a model is checked against the CPU "
              "before its first job, and a device that disagrees is not used");
  return devices.ok();
}

// After the configuration, which may say where it is.
void look_at_cublas(Report& report) {
  const auto found = find_cublas();
  if (found.ok()) return report.ok("cublas", *found);
  report.note("cublas", found.status().message());
}

void look_at_config(const std::string& path, Report& report) {
  const auto config = load_config(path);
  if (!config.ok()) return report.fail("config", config.status());
  report.ok("config", path);
  set_cuda_libraries(config->daemon.cuda_libraries);
  for (const std::string& note : config_notes(*config)) report.note("config", note);
  if (!config->daemon.listen.empty()) {
    const std::string kept_out = unit_keeps_tcp_out("");
    if (!kept_out.empty()) report.note("tcp", kept_out);
  }
  if (!config->daemon.webhooks.empty()) {
    const std::string kept_in = unit_keeps_webhooks_in("");
    if (!kept_in.empty()) report.note("webhooks", kept_in);
  }
  const ModelsOutlook found = look_at_models(*config);
  for (const ConfiguredModel& model : found.models) {
    const std::string name = "model " + model.config->name;
    if (!model.outlook.ok()) {
      report.fail(name, model.outlook.status());
      continue;
    }
    report.ok(name, describe(model, *config));
    if (!model.fits.ok()) report.fail("memory", model.fits);
  }
  if (!found.turns.empty()) report.note("memory", found.turns);
}

// What it says of itself at /readyz: whether it is ready, its models, its notices.
void look_at_daemon(const GlobalOptions& globals, Report& report) {
  HttpClient http(chosen_socket(globals), "", kAnswerTimeout);
  const auto answer = http.get("/readyz");
  if (!answer.ok()) return report.fail("parkd", answer.status());
  const boost::json::value& said = answer->json;
  const std::string store_error = text_at(said, "store_error");
  const std::string ready = flag_at(said, "ready") ? "is ready" : "is not ready";
  const std::string why = flag_at(said, "stopping") ? ": it is stopping"
                          : store_error.empty()     ? ""
                                                    : ": " + store_error;
  if (flag_at(said, "ready")) {
    report.ok("parkd", ready);
  } else {
    report.fail("parkd", unavailable(ready + why));
  }
  for (const boost::json::value& model : list_at(said, "models")) {
    const std::string name = "model " + text_at(model, "id");
    const std::string failure = text_at(model, "failure");
    if (text_at(model, "state") == "failed") {
      report.fail(name, unavailable(failure));
    } else {
      report.ok(name, text_at(model, "state") + (failure.empty() ? "" : ", " + failure));
    }
  }
  for (const boost::json::value& notice : list_at(said, "notices")) {
    report.note(text_at(notice, "code"), text_at(notice, "text"));
  }
}

#ifdef PARKD_HAVE_POSTGRES
void look_at_database(const std::string& dsn, Report& report) {
  Migrator migrator(dsn);
  const Status status = migrator.check();
  if (!status.ok()) return report.fail("database", with_target(status, dsn));
  report.ok("database", "its schema is one that this parkd knows");
  const auto rights = rights_of_public(dsn);
  if (!rights.ok()) return report.fail("database", with_target(rights.status(), dsn));
  if (!rights->empty()) {
    report.note("database", "any login of its server may " + *rights +
                                ": if it is parkd's alone, jobctl migrate lockdown --dry-run "
                                "prints what ends that");
  }
  const auto unserved = unserved_models(dsn);
  if (!unserved.ok()) return report.fail("queue", with_target(unserved.status(), dsn));
  for (const std::string& line : *unserved) report.note("queue", line);
  const auto holders = results_holders(dsn);
  if (!holders.ok()) return report.note("results", holders.status().message());
  for (const std::string& holder : *holders) {
    report.note("results", "held up for as long as this is open: " + holder);
  }
}
#endif

}  // namespace

void add_doctor(CLI::App& app, const GlobalOptions& globals, Chosen& chosen) {
  CLI::App* doctor = app.add_subcommand(
      "doctor", "Says what devices, configuration, daemon and database are good for");
  const auto config = std::make_shared<std::string>();
  const auto offline = std::make_shared<bool>(false);
  doctor->add_option("--config", *config, "A daemon's YAML: its models and their units");
  doctor->add_flag("--offline", *offline, "Ask no daemon and no database");
  doctor->callback([&globals, &chosen, config, offline] {
    chosen = [&globals, config, offline] {
      Report report;
      const bool has_device = look_at_devices(report);
      if (!config->empty()) look_at_config(*config, report);
      if (has_device) look_at_cublas(report);
      if (*offline) return report.exit_code();
#ifdef PARKD_HAVE_POSTGRES
      const auto dsn = chosen_dsn(globals);
      if (!dsn.ok()) {
        report.fail("database", dsn.status());
        return report.exit_code();
      }
      if (*dsn) {
        look_at_database(**dsn, report);
        return report.exit_code();
      }
#endif
      look_at_daemon(globals, report);
      return report.exit_code();
    };
  });
}

}  // namespace parkd::jobctl
