#include "tests/store/postgres/fault_cluster.h"

#include <signal.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <vector>

#include "tests/store/postgres/fault_world.h"

namespace parkd {
namespace {

std::string setting_of(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr) throw std::runtime_error("run this through tools/pg_sandbox.sh");
  return value;
}

void as_owner(const std::string& command) {
  const std::string whole = setting_of("PG_SANDBOX_AS") + " " + command;
  if (std::system(whole.c_str()) != 0) throw std::runtime_error(whole + " failed");
}

}  // namespace

Cluster::Cluster(const std::string& name, Kind kind)
    : data_(setting_of("PG_SANDBOX_ROOT") + "/" + name),
      run_(data_ + ".run"),
      log_(data_ + ".log") {
  as_owner("mkdir " + run_);
  as_owner("pg_basebackup -D " + data_ +
           " -X stream -c fast -U postgres -d 'host=" + setting_of("PGHOST") +
           " application_name=" + name + "'" + (kind == Kind::standby ? " -R" : ""));
  std::ofstream conf(data_ + "/postgresql.conf", std::ios::app);
  conf << "unix_socket_directories = '" << run_ << "'\n";
  if (kind == Kind::recovered) {
    conf << "restore_command = 'false'\nrecovery_target = 'immediate'\n"
            "recovery_target_action = 'promote'\n";
    as_owner("touch " + data_ + "/recovery.signal");
  }
}

Cluster::~Cluster() {
  try {
    control("stop -m immediate");
  } catch (const std::exception&) {  // it was not running
  }
}

void Cluster::control(const std::string& arguments) const {
  as_owner("pg_ctl -D " + data_ + " -l " + log_ + " -w " + arguments + " >/dev/null 2>&1");
}

void Cluster::start() {
  control("start");
}

void Cluster::promote() {
  control("promote");
}

void use_server(const std::string& host) {
  ::setenv("PGHOST", host.c_str(), 1);
}

void kill_server(const std::string& data) {
  std::ifstream file(data + "/postmaster.pid");
  pid_t postmaster = 0;
  if (!(file >> postmaster)) throw std::runtime_error("no server runs in " + data);
  // Its children notice by themselves; one that is writing may go on for a moment, as on a machine
  // that was cut off from the network.
  std::vector<pid_t> children;
  std::ifstream list("/proc/" + std::to_string(postmaster) + "/task/" + std::to_string(postmaster) +
                     "/children");
  for (pid_t child = 0; list >> child;) children.push_back(child);
  ::kill(postmaster, SIGKILL);
  for (const pid_t child : children) {
    const std::string program = "/proc/" + std::to_string(child) + "/exe";
    eventually(std::chrono::seconds(10), [&] {
      std::error_code gone;  // also of one that nobody has reaped yet
      (void)std::filesystem::read_symlink(program, gone);
      return static_cast<bool>(gone);
    });
  }
}

}  // namespace parkd
