// What `jobctl batch run` shows on stderr: a bar with ETA on a terminal, a line now and then
// elsewhere.
#pragma once

#include <boost/json/value.hpp>
#include <chrono>
#include <cstdint>
#include <map>
#include <string>

namespace parkd::jobctl {

// Lines that failed with one code.
struct FailureReason {
  int64_t count = 0;
  std::string custom_id;  // the first one's
  std::string message;
};

struct BatchCounts {
  int64_t total = 0;
  int64_t done = 0;
  int64_t failed = 0;
  int64_t truncated = 0;  // finish_reason length
  int64_t prompt_tokens = 0;
  int64_t output_tokens = 0;
  std::map<std::string, FailureReason> reasons;  // by code

  // Counts a result line.
  void count(const boost::json::value& line);
};

class Progress {
 public:
  void start(const BatchCounts& counts);
  void show(const BatchCounts& counts);
  // A line of its own; the same text is not said twice in a row.
  void note(const std::string& text);
  void end();
  // How it ended, with the three most frequent reasons of failures.
  void summary(const BatchCounts& counts, const std::string& output);

 private:
  double elapsed_s() const;
  double tokens_here(const BatchCounts& counts) const;  // of this process's results

  bool terminal_ = false;
  bool bar_shown_ = false;
  BatchCounts before_;  // the results of earlier processes
  std::string last_note_;
  std::chrono::steady_clock::time_point started_;
  std::chrono::steady_clock::time_point last_shown_;
};

}  // namespace parkd::jobctl
