// The request lines of `jobctl batch run` and `batch add`: a file of OpenAI batch lines, or a
// stream.
//
// What is not a regular file (-, a pipe, a FIFO) is copied first into a temporary file of our own,
// so that any line can be read again. One thread.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/raw_json.h"
#include "lib/base/status.h"

namespace parkd::jobctl {

// One request line. The text stays in the file.
struct BatchLine {
  int64_t number = 0;  // in the file, from 1
  int64_t offset = 0;
  int64_t length = 0;
  uint64_t fingerprint = 0;  // of its text
  std::string custom_id;
  std::string model;  // that the line names; empty: none
  Status refusal;     // why it can be no job, as far as its JSON tells; ok: nothing is known
};

// Makes the job, {"body": {...}, ...}, one of that model, whatever its body names.
void name_model(RawObject& job, std::string_view model);

// {"jobs": [...]} of the JSON of each.
std::string jobs_text(const std::vector<std::string>& jobs);

class BatchInput {
 public:
  // Reads every line. Errors: invalid, listing the lines that are not a JSON object, or lack or
  // repeat a custom_id: number, byte, cause, and the custom_id where it can be read.
  static Result<BatchInput> open(const std::string& path);

  const std::vector<BatchLine>& lines() const { return lines_; }
  Result<std::string> read(const BatchLine& line) const;
  uint64_t fingerprint() const { return fingerprint_; }  // of the whole file
  // Whether `path` leads to the file that was opened, by whatever name or link.
  bool is_same_file(const std::string& path) const;

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  Status open_file(const std::string& path);
  Status read_lines(const std::string& path);

  std::unique_ptr<std::FILE, Close> file_;
  std::vector<BatchLine> lines_;
  uint64_t fingerprint_ = 0;
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

}  // namespace parkd::jobctl
