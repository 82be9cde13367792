// DepthEstimate: how many single jobs of each model wait, without counting them at every submit.
//
// A sample from the database at most once a second, and in between what this daemon itself
// submitted and claimed. Alone, a daemon's estimate is exact; with others it is wrong by at most
// what they did since the sample. Owner: PostgresStore; thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>

namespace parkd {

class DepthEstimate {
 public:
  // Empty: too old, sample anew.
  std::optional<int64_t> of(const std::string& model) const;
  void sampled(const std::string& model, int64_t depth);
  // Jobs that began (or, negative, ceased) to wait.
  void add(const std::string& model, int64_t n);

 private:
  struct Sample {
    int64_t depth = 0;
    std::chrono::steady_clock::time_point at;
  };
  mutable std::mutex
      mutex_;  // submit and claim lanes both write: two integers, no message worth it
  std::map<std::string, Sample> samples_;
};

}  // namespace parkd
