#include "tools/bench/bench_daemon.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>

#include "lib/base/check.h"
#include "tools/jobctl/http_client.h"

namespace parkd::bench {
namespace {

namespace fs = std::filesystem;

// Threads' names: lib/engine/local_engine.cc, lib/backend/cpu/team.cc.
bool is_worker(const std::string& name) {
  return name.rfind("engine-", 0) == 0 || name.rfind("cpu_team", 0) == 0;
}

std::string first_line(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

}  // namespace

BenchDaemon::BenchDaemon(const Settings& settings, const BenchDaemonSetup& setup)
    : directory_(settings.work_dir + "/" + setup.name) {
  fs::create_directories(directory_);
  std::string pool;
  if (settings.threads > 0) {
    pool = "  pool:\n    worker_threads: " + std::to_string(settings.threads) + "\n";
  }
  const std::string config = directory_ + "/parkd.yaml";
  std::ofstream(config) << "daemon:\n  state_dir: " << directory_ << "\n  cpu_isa: " << settings.isa
                        << "\n  min_free_disk_mb: 1\n"
                        << setup.more_daemon << "parking_lot:\n"
                        << pool
                        << "  limits:\n    interactive_reserve: 0\n  queue:\n    backend: rocksdb\n"
                        << "models:\n  - name: bench\n    local_path: " << settings.model
                        << "\n    params:\n      max_num_seqs: " << setup.max_num_seqs
                        << "\n      kvcache_mem_cpu: 512\n"
                        << setup.more_params;
  pid_ = ::fork();
  PARKD_CHECK(pid_ >= 0, "fork");
  if (pid_ == 0) {
    const int log = ::open((directory_ + "/log").c_str(), O_CREAT | O_WRONLY, 0600);
    ::dup2(log, STDERR_FILENO);
    ::execl(settings.parkd.c_str(), "parkd", "--config", config.c_str(), nullptr);
    ::_exit(127);
  }
  jobctl::HttpClient client(socket(), "", std::chrono::seconds(5));
  for (;;) {
    const auto models = client.get("/v1/models");
    if (models.ok() && models->text.find("\"state\":\"ready\"") != std::string::npos) return;
    PARKD_CHECK(::waitpid(pid_, nullptr, WNOHANG) == 0,
                "parkd (--parkd) ended: " + first_line(directory_ + "/log"));
    ::usleep(20'000);
  }
}

BenchDaemon::~BenchDaemon() {
  ::kill(pid_, SIGTERM);
  ::waitpid(pid_, nullptr, 0);
}

// schedstat has nanoseconds, where stat has hundredths of a second (proc(5)).
BenchDaemon::CpuTime BenchDaemon::cpu_time() const {
  CpuTime time;
  const std::string own = std::to_string(pid_);
  for (const auto& task : fs::directory_iterator("/proc/" + own + "/task")) {
    const std::string stat = first_line(task.path() / "schedstat");
    PARKD_CHECK(!stat.empty(), "this kernel counts no CPU time a thread (CONFIG_SCHED_INFO)");
    const double seconds = 1e-9 * std::stod(stat);
    if (is_worker(first_line(task.path() / "comm"))) {
      time.workers_s += seconds;
    } else if (task.path().filename() == own) {
      time.control_s += seconds;
    } else {
      time.others_s += seconds;
    }
  }
  return time;
}

int64_t BenchDaemon::rss_bytes() const {
  std::ifstream status("/proc/" + std::to_string(pid_) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("VmRSS:", 0) == 0) return std::stoll(line.substr(6)) * 1024;
  }
  PARKD_CHECK(false, "no VmRSS in /proc");
}

BenchDaemon::CpuTime operator-(const BenchDaemon::CpuTime& a, const BenchDaemon::CpuTime& b) {
  return {a.workers_s - b.workers_s, a.control_s - b.control_s, a.others_s - b.others_s};
}

}  // namespace parkd::bench
