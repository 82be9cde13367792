// Connections: how many a peer may have. One account may hold half of them; the last few are kept
// for privileged ones, so that an operator always gets in.
//
// Control thread.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "lib/base/status.h"
#include "lib/http/principal.h"

namespace parkd {

inline constexpr int kConnectionsKept = 16;  // for privileged peers

struct ConnectionFigures {
  int open = 0;
  int max = 0;
  int64_t refused = 0;
};

class Connections {
 public:
  explicit Connections(int connections_max) : max_(connections_max) {}

  // Errors: unavailable, naming what is full and its limit. leave() follows when it was ok.
  Status enter(const Principal& peer);
  void leave(const Principal& peer);

  ConnectionFigures figures() const { return {open_, max_, refused_}; }

 private:
  const int max_;
  int open_ = 0;
  int64_t refused_ = 0;
  std::map<std::string, int> of_account_;  // that have some
};

// Of so many files that the process may open: all but 2,048, which are RocksDB's tables, uploads,
// models; half of fewer than 4,096.
int64_t connections_of_files(int64_t n_files);
// daemon.connections_max, or as many as this process's files allow where those are fewer; the soft
// limit is raised first, as far as the hard one allows.
int connections_possible(int wanted);

}  // namespace parkd
