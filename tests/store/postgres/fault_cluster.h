// Cluster: a second server of the sandbox, made from a base backup of the one PGHOST names: a
// streaming standby, or what an administrator restores after a loss.
//
// Tests alone, one thread. Removed by tools/pg_sandbox.sh at its end, stopped by the destructor.
#pragma once

#include <string>

namespace parkd {

class Cluster {
 public:
  enum class Kind {
    standby,     // streams from the primary under application_name NAME, hot
    recovered,   // point-in-time recovery to the end of the backup: a new timeline
    plain_copy,  // started as it is: the timeline of the original
  };
  // Takes the backup. Throws when a command fails.
  Cluster(const std::string& name, Kind kind);
  ~Cluster();
  Cluster(const Cluster&) = delete;
  Cluster& operator=(const Cluster&) = delete;

  void start();
  void promote();
  // The directory of its Unix socket: the value of host= in a DSN.
  const std::string& host() const { return run_; }

 private:
  void control(const std::string& arguments) const;

  const std::string data_;
  const std::string run_;
  const std::string log_;
};

// From here on libpq's default server, and so TestDatabase's, is this one. No other thread may be
// connecting.
void use_server(const std::string& host);
// kill -9 of the postmaster whose data directory this is; returns when none of its processes is
// left.
void kill_server(const std::string& data);

}  // namespace parkd
