// A real parkd in a directory of its own: start it, talk to it, kill it, start it again.
//
// Owned by one test thread; client() makes connections for others. The directory, with the queue
// and the log, outlives the processes.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "tests/support/temp_dir.h"
#include "tools/jobctl/http_client.h"

namespace parkd::testing {

struct DaemonSetup {
  int max_num_seqs = 2;
  int worker_threads = 1;
  int kv_units = 0;  // limits.max_units; 0 = what the memory holds
  double interactive_reserve = 0;
  int context_tokens = 2048;  // of the model: a job that fills more of it runs longer
  int drain_timeout_s = 10;
  uint64_t model_seed = 1;  // another seed is another file of the same shape
  std::string min_free_disk_mb = "1";
  std::string hf_id;        // the model's, in the place of its local_path
  std::string more_daemon;  // further lines of the daemon: section, indented
  std::string more_lot;     // further lines of the parking_lot: section, indented
};

class DaemonProcess {
 public:
  explicit DaemonProcess(const DaemonSetup& setup);
  ~DaemonProcess();  // kills what still runs
  DaemonProcess(const DaemonProcess&) = delete;
  DaemonProcess& operator=(const DaemonProcess&) = delete;

  using Environment = std::map<std::string, std::string>;
  // Forks and waits until it answers; returns false when it died before (a kill point may say so).
  bool start(const Environment& environment = {});
  void launch(const Environment& environment = {});  // forks, and waits for nothing
  // Waits until the model is loaded.
  void wait_for_model();

  void signal(int number);
  void kill();  // SIGKILL, and waits for the end
  // The wait status, once it has ended; nothing when it still runs after `patience`.
  std::optional<int> wait_for_end(std::chrono::seconds patience);
  bool running();
  // Waits until `holds` says so; false when the daemon ended before. One that does neither for
  // minutes ends the test with the daemon's log.
  bool wait_until(const std::function<bool()>& holds);

  pid_t pid() const { return pid_; }
  std::unique_ptr<jobctl::HttpClient> client(const std::string& tenant = "") const;
  const std::string& socket() const { return socket_; }
  std::string directory() const { return directory_.path(); }
  std::string config_path() const { return directory_.path() + "/parkd.yaml"; }
  std::string log() const;

 private:
  TempDir directory_;
  std::string socket_;
  pid_t pid_ = -1;
  std::optional<int> end_;
};

}  // namespace parkd::testing
