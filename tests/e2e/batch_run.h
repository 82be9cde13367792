// jobctl batch run on a real daemon with the tiny model: its two files, and what stands in them.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include "tests/e2e/child_process.h"
#include "tests/e2e/jobs.h"

namespace parkd::testing {

inline std::string batch_line(const std::string& custom_id, int max_tokens) {
  json::object line;
  line["custom_id"] = custom_id;
  line["method"] = "POST";
  line["url"] = "/v1/chat/completions";
  line["body"] = chat_body("Tell me about " + custom_id + ".", max_tokens);
  line["body"].as_object()["model"] = "tiny";
  return json::serialize(line) + "\n";
}

class BatchRun : public ::testing::Test {
 protected:
  BatchRun() : daemon_(setup()) {}

  static DaemonSetup setup() {
    DaemonSetup setup;
    setup.max_num_seqs = 4;
    setup.worker_threads = 2;
    return setup;
  }

  std::string in() const { return daemon_.directory() + "/in.jsonl"; }
  std::string out() const { return daemon_.directory() + "/out.jsonl"; }
  void write_input(const std::string& text) const { std::ofstream(in()) << text; }
  static std::string text_of(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  std::string output() const { return text_of(out()); }
  std::vector<std::string> command(std::vector<std::string> more = {}) const {
    std::vector<std::string> words = {"batch", "run", in(), "-o", out()};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  JobctlResult run(std::vector<std::string> more = {}) const {
    return run_jobctl(daemon_, command(std::move(more)));
  }
  // The result lines by custom_id; a line that is not JSON or repeats one is a failure.
  std::map<std::string, json::value> results() const {
    std::map<std::string, json::value> by_id;
    std::ifstream file(out());
    for (std::string line; std::getline(file, line);) {
      json::error_code error;
      const json::value result = json::parse(line, error);
      EXPECT_FALSE(error) << line;
      EXPECT_TRUE(by_id.emplace(text_at(result, "custom_id"), result).second)
          << text_at(result, "custom_id") << " is there twice";
    }
    return by_id;
  }
  size_t n_lines() const {
    const std::string text = output();
    return static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
  }

  DaemonProcess daemon_;
};

}  // namespace parkd::testing
