// BenchDaemon: the real parkd, forked on a fresh embedded queue, with the model loaded; stopped
// when it goes. What its threads and its memory have cost is read from /proc. One thread.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "tools/bench/report.h"

namespace parkd::bench {

struct BenchDaemonSetup {
  std::string name;  // of its directory in Settings::work_dir
  int64_t max_num_seqs = 64;
  std::string more_daemon{};  // further lines of daemon:, indented by two
  std::string more_params{};  // of the model's params:, indented by six
};

class BenchDaemon {
 public:
  BenchDaemon(const Settings& settings, const BenchDaemonSetup& setup);
  ~BenchDaemon();
  BenchDaemon(const BenchDaemon&) = delete;
  BenchDaemon& operator=(const BenchDaemon&) = delete;

  std::string socket() const { return directory_ + "/parkd.sock"; }

  // Seconds of CPU time so far (user and system), by kind of thread.
  struct CpuTime {
    double workers_s = 0;  // engine workers and the teams that help them
    double control_s = 0;  // the thread with all sockets
    double others_s = 0;   // neither: quick and blocking threads, dispatcher, store
    double doors_s() const { return control_s + others_s; }
  };
  CpuTime cpu_time() const;
  int64_t rss_bytes() const;

 private:
  std::string directory_;
  pid_t pid_ = -1;
};

BenchDaemon::CpuTime operator-(const BenchDaemon::CpuTime& a, const BenchDaemon::CpuTime& b);

}  // namespace parkd::bench
