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

// How it ended: "20 results in OUT: 20 completed, ...; 400 prompt + 2000 output tokens in 0m10s
// (240 tokens/s)". Where there were results `before`, time and rate are of what ended since.
std::string ending_text(const BatchCounts& counts, const BatchCounts& before, double elapsed_s,
                        const std::string& output);

class Progress {
 public:
  void start(const BatchCounts& counts);
  // What had ended while no process looked is there now: it took none of this one's time.
  void caught_up(const BatchCounts& counts) { before_ = counts; }
  void show(const BatchCounts& counts);
  // A line of its own; the same text is not said twice in a row.
  void note(const std::string& text);
  void end();
  // How it ended, with the three most frequent reasons of failures.
  void summary(const BatchCounts& counts, const std::string& output);

 private:
  double elapsed_s() const;

  bool terminal_ = false;
  bool bar_shown_ = false;
  BatchCounts before_;  // the results that ended before this process
  std::string last_note_;
  std::chrono::steady_clock::time_point started_;
  std::chrono::steady_clock::time_point last_shown_;
};

}  // namespace parkd::jobctl
