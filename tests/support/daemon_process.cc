#include "tests/support/daemon_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <vector>

#include "lib/base/check.h"
#include "tests/support/sanitized.h"
#include "tests/support/tiny_model.h"

namespace parkd::testing {
namespace {

// Before ctest ends the test, and says nothing. A sanitized daemon has an hour.
constexpr std::chrono::minutes kHungAfter{kIsSanitized ? 20 : 5};

std::string config_text(const DaemonSetup& setup, const std::string& directory) {
  std::string text =
      "daemon:\n  state_dir: " + directory + "/state\n  socket: " + directory +
      "/parkd.sock\n  drain_timeout_s: " + std::to_string(setup.drain_timeout_s) +
      "\n  interactive_run_timeout_s: 1200\n  min_free_disk_mb: " + setup.min_free_disk_mb + "\n" +
      setup.more_daemon;
  text +=
      "parking_lot:\n  pool:\n    worker_threads: " + std::to_string(setup.worker_threads) + "\n";
  if (setup.kv_units > 0) {
    text += "  limits:\n    max_units: " + std::to_string(setup.kv_units) + "\n";
  }
  text += setup.more_lot;
  const std::string source =
      setup.hf_id.empty() ? "local_path: " + directory + "/tiny.gguf" : "hf_id: " + setup.hf_id;
  text += "models:\n  - name: tiny\n    " + source +
          "\n    params:\n      kvcache_mem_cpu: " + std::to_string(setup.context_tokens / 128) +
          "\n      max_num_seqs: " + std::to_string(setup.max_num_seqs) +
          "\n    parking_lot: {limits: {interactive_reserve: " +
          std::to_string(setup.interactive_reserve) + "}}\n";
  return text;
}

}  // namespace

DaemonProcess::DaemonProcess(const DaemonSetup& setup)
    : socket_(directory_.path() + "/parkd.sock") {
  TinyModelOptions tiny;
  tiny.type = TensorType::q4_1;
  tiny.seed = setup.model_seed;
  tiny.context_tokens = setup.context_tokens;
  const Status written = write_tiny_model(directory_.path() + "/tiny.gguf", tiny);
  PARKD_CHECK(written.ok(), written.to_string());
  std::ofstream(config_path()) << config_text(setup, directory_.path());
}

DaemonProcess::~DaemonProcess() {
  if (running()) kill();
}

bool DaemonProcess::start(const Environment& environment) {
  launch(environment);
  return wait_until([this] {
    const auto answer = client()->get("/healthz");
    return answer.ok() && answer->status == 200;
  });
}

void DaemonProcess::launch(const Environment& environment) {
  PARKD_CHECK(!running(), "the daemon is running already");
  end_.reset();
  const std::string log_path = directory_.path() + "/parkd.log";
  const std::string config = config_path();
  std::vector<std::string> settings;
  for (const auto& [name, value] : environment) settings.push_back(name + "=" + value);
  pid_ = ::fork();
  PARKD_CHECK(pid_ >= 0, "fork");
  if (pid_ == 0) {
    const int log = ::open(log_path.c_str(), O_CREAT | O_APPEND | O_WRONLY, 0600);
    ::dup2(log, STDERR_FILENO);
    ::dup2(log, STDOUT_FILENO);
    for (std::string& setting : settings) ::putenv(setting.data());
    ::execl(PARKD_BINARY, "parkd", "--config", config.c_str(), nullptr);
    ::_exit(127);
  }
}

void DaemonProcess::wait_for_model() {
  wait_until([this] {
    const auto answer = client()->get("/v1/models");
    return answer.ok() && answer->text.find("\"state\":\"ready\"") != std::string::npos;
  });
}

void DaemonProcess::signal(int number) {
  if (running()) ::kill(pid_, number);
}

void DaemonProcess::kill() {
  signal(SIGKILL);
  wait_for_end(std::chrono::seconds(60));
}

bool DaemonProcess::running() {
  if (pid_ < 0 || end_) return false;
  int status = 0;
  if (::waitpid(pid_, &status, WNOHANG) != pid_) return true;
  end_ = status;
  return false;
}

std::optional<int> DaemonProcess::wait_for_end(std::chrono::seconds patience) {
  const auto until = std::chrono::steady_clock::now() + patience;
  while (running() && std::chrono::steady_clock::now() < until) ::usleep(2000);
  return end_;
}

bool DaemonProcess::wait_until(const std::function<bool()>& holds) {
  const auto until = std::chrono::steady_clock::now() + kHungAfter;
  while (running()) {
    if (holds()) return true;
    PARKD_CHECK(std::chrono::steady_clock::now() < until, "the daemon hangs; its log:\n" + log());
    ::usleep(2000);
  }
  return false;
}

std::unique_ptr<jobctl::HttpClient> DaemonProcess::client(const std::string& tenant) const {
  return std::make_unique<jobctl::HttpClient>(socket_, tenant, std::chrono::seconds(90));
}

std::string DaemonProcess::log() const {
  std::ifstream file(directory_.path() + "/parkd.log");
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace parkd::testing
