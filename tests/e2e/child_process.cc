#include "tests/e2e/child_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <iterator>

#include "lib/base/check.h"

namespace parkd::testing {
namespace {

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

JobctlResult run_to_end(const std::vector<std::string>& argv, const std::string& input) {
  ChildProcess process(argv, input);
  JobctlResult result;
  result.exit_code = process.wait();
  result.out = process.out();
  result.err = process.err();
  return result;
}

}  // namespace

ChildProcess::ChildProcess(const std::vector<std::string>& argv, const std::string& input) {
  const std::string base = directory_.path();
  std::ofstream(base + "/in", std::ios::binary) << input;
  std::vector<std::string> words = argv;
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  const std::string in = base + "/in";
  const std::string out = base + "/out";
  const std::string err = base + "/err";
  pid_ = ::fork();
  PARKD_CHECK(pid_ >= 0, "fork");
  if (pid_ == 0) {
    ::dup2(::open(in.c_str(), O_RDONLY), STDIN_FILENO);
    ::dup2(::open(out.c_str(), O_CREAT | O_WRONLY | O_APPEND, 0600), STDOUT_FILENO);
    ::dup2(::open(err.c_str(), O_CREAT | O_WRONLY | O_APPEND, 0600), STDERR_FILENO);
    ::execv(pointers[0], pointers.data());
    ::_exit(127);
  }
}

ChildProcess::~ChildProcess() {
  if (end_) return;
  signal(SIGKILL);
  wait();
}

void ChildProcess::signal(int number) {
  if (!end_) ::kill(pid_, number);
}

int ChildProcess::wait() {
  if (!end_) {
    int status = 0;
    PARKD_CHECK(::waitpid(pid_, &status, 0) == pid_, "waitpid");
    end_ = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
  return *end_;
}

std::string ChildProcess::out() const {
  return read_file(directory_.path() + "/out");
}

std::string ChildProcess::err() const {
  return read_file(directory_.path() + "/err");
}

std::vector<std::string> jobctl_argv(const DaemonProcess& daemon,
                                     const std::vector<std::string>& arguments) {
  std::vector<std::string> argv = {JOBCTL_BINARY, "--socket", daemon.socket()};
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  return argv;
}

JobctlResult run_jobctl(const DaemonProcess& daemon, const std::vector<std::string>& arguments,
                        const std::string& input) {
  return run_to_end(jobctl_argv(daemon, arguments), input);
}

JobctlResult run_jobctl(const std::vector<std::string>& arguments, const std::string& input,
                        const std::vector<std::string>& environment) {
  std::vector<std::string> argv = {"/usr/bin/env"};
  argv.insert(argv.end(), environment.begin(), environment.end());
  argv.push_back(JOBCTL_BINARY);
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  return run_to_end(argv, input);
}

}  // namespace parkd::testing
