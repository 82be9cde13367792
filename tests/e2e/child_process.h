// A program run to its end, or to its killing, with what it printed.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "tests/support/daemon_process.h"
#include "tests/support/temp_dir.h"

namespace parkd::testing {

class ChildProcess {
 public:
  // `argv`: the program's path and its arguments.
  explicit ChildProcess(const std::vector<std::string>& argv, const std::string& input = "");
  ~ChildProcess();  // kills it where it still runs
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  void signal(int number);
  // Waits for the end: the exit code, or -N when signal N ended it.
  int wait();

  std::string out() const;
  std::string err() const;

 private:
  TempDir directory_;
  pid_t pid_ = -1;
  std::optional<int> end_;
};

// jobctl, and jobctl on a daemon's socket.
struct JobctlResult {
  int exit_code = 0;
  std::string out;
  std::string err;
};
// `environment`: NAME=VALUE, added to this process's own.
JobctlResult run_jobctl(const std::vector<std::string>& arguments, const std::string& input = "",
                        const std::vector<std::string>& environment = {});
std::vector<std::string> jobctl_argv(const DaemonProcess& daemon,
                                     const std::vector<std::string>& arguments);
JobctlResult run_jobctl(const DaemonProcess& daemon, const std::vector<std::string>& arguments,
                        const std::string& input = "");

}  // namespace parkd::testing
