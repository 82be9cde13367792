// Peers: many clients of one daemon, each with a connection of its own to its socket, on one thread
// (epoll), so that thousands cost little. They take answers as they are: whole, or in chunks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace parkd::bench {

class Peers {
 public:
  explicit Peers(std::string socket);
  ~Peers();
  Peers(const Peers&) = delete;
  Peers& operator=(const Peers&) = delete;

  // Connects until there are `n`.
  void connect(size_t n);
  size_t size() const { return peers_.size(); }

  // Whose last answer is whole.
  void send(size_t peer, const std::string& request);
  // Until every request has its whole answer.
  void read_all();
  // Until every request has the head of its answer.
  void read_heads();

  struct Answer {
    int status = 0;
    std::string text;  // head and body, as they came
  };
  const Answer& answer(size_t peer) const { return peers_[peer].answer; }

 private:
  struct Peer {
    int fd = -1;
    bool is_whole = true;
    size_t head_bytes = 0;   // 0: it has not come yet
    size_t whole_bytes = 0;  // of the answer; 0: it comes in chunks
    Answer answer;
  };
  void read_some(Peer& peer);
  void read_until(bool heads_do);
  static bool is_whole(const Peer& peer);

  const std::string socket_;
  int epoll_ = -1;
  std::vector<Peer> peers_;
};

std::string http_get(const std::string& target);
std::string http_post(const std::string& target, const std::string& json);

// The last number under `"name":` in an answer; CHECKs that there is one.
int64_t last_number(const Peers::Answer& answer, const std::string& name);
size_t count_events(const Peers::Answer& answer);  // server-sent ones with data

}  // namespace parkd::bench
