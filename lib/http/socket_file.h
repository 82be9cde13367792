// SocketFile: the API's listening socket as a file: made with its mode and group, looked after,
// removed. It takes the place of a socket that no process listens on any more, and of nothing else.
// Of daemons that start at the same moment one gets it (a lock on PATH.lock, which stays).
//
// One thread at a time. No call blocks, but listen() for its patience.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "lib/base/status.h"

namespace parkd {

class SocketFile {
 public:
  // `group`: a name or number; empty: the process's own.
  SocketFile(std::string path, uint32_t mode, std::string group)
      : path_(std::move(path)), mode_(mode), group_(std::move(group)) {}

  // A new socket that listens at the path: a descriptor, closed on exec, which is the caller's.
  // Errors: invalid, naming the path and what is in the way, or daemon.socket_group; conflict where
  // another process listens there and does not stop within `patience`.
  Result<int> listen(std::chrono::milliseconds patience);

  enum class Place {
    ours,       // the file is there and leads to this process
    free,       // nothing is there, or a socket without a listener
    anothers,   // another process listens there, or one that does not let us ask
    no_socket,  // a file of another kind
  };
  Place look();

  // Removes the file if it is ours; the socket still listens.
  void remove();

  const std::string& path() const { return path_; }

 private:
  struct Descriptor {
    explicit Descriptor(int of) : fd(of) {}
    Descriptor(Descriptor&& other) noexcept : fd(std::exchange(other.fd, -1)) {}
    ~Descriptor();
    int fd;
  };

  Result<Descriptor> take_turn(std::chrono::steady_clock::time_point until) const;
  pid_t listener() const;
  Result<int> make();
  Status give_to_group();
  bool is_as_made(const struct stat& now) const;

  const std::string path_;
  const uint32_t mode_;
  const std::string group_;
  std::optional<gid_t> gid_;  // of group_, once looked up
  struct stat made_ {};       // as last seen and known to be ours; st_ino 0 before
};

}  // namespace parkd
