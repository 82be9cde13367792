// Reloads: the files that SIGHUP makes the daemon read again: the tokens of TCP, the secrets of
// webhooks. One that cannot be read leaves in force what was read before, as a notice says until
// it can.
//
// Control thread; files are read on blocking threads. Of two readings under way the later counts.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "daemon/health/health_board.h"
#include "lib/base/blocking_pool.h"
#include "lib/base/status.h"

namespace parkd {

// What is said of a file that cannot be read again.
struct ReloadWords {
  const char* event;       // of the log
  const char* notice;      // its code
  const char* until_then;  // "the tokens that were read before count"
};

class Reloads {
 public:
  // All outlive it.
  Reloads(boost::asio::io_context& io, BlockingPool& blocking, HealthBoard& health)
      : io_(io), blocking_(blocking), health_(health) {}
  Reloads(const Reloads&) = delete;
  Reloads& operator=(const Reloads&) = delete;

  // From now on read_again() reads by `load`, on a blocking thread, and gives what came to `take`.
  template <class T>
  void add(const ReloadWords& words, std::function<Result<T>()> load, std::function<void(T)> take);
  bool is_empty() const { return readers_.empty(); }

  void read_again() {
    for (const auto& reader : readers_) reader();
  }

 private:
  void note(const ReloadWords& words, const Status& status);

  boost::asio::io_context& io_;
  BlockingPool& blocking_;
  HealthBoard& health_;
  std::vector<std::function<void()>> readers_;
};

template <class T>
void Reloads::add(const ReloadWords& words, std::function<Result<T>()> load,
                  std::function<void(T)> take) {
  const auto last_begun = std::make_shared<int64_t>(0);
  readers_.push_back([this, words, load = std::move(load), take = std::move(take), last_begun] {
    blocking_.run([this, words, load, take, last_begun, n = ++*last_begun] {
      const auto read = std::make_shared<Result<T>>(load());
      boost::asio::post(io_, [this, words, take, last_begun, n, read] {
        if (n != *last_begun) return;
        note(words, read->status());
        if (read->ok()) take(std::move(*read).value());
      });
    });
  });
}

}  // namespace parkd
