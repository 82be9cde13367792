// What a batch has beside its account (batch.h) where its members are the lines of an uploaded
// file, and its results two files again (OpenAI's Batches).
//
// A daemon reads the file (validating), submits its lines in portions (expanding), and once all
// members have ended counts what the result files have (ended). Any daemon of the store goes on
// where another died: what it has come to stands here. The result files are the messages of the
// batch's members, which all have result_key() as their mailbox key. Plain values, any thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/clock.h"
#include "lib/job/batch_fault.h"

namespace parkd {

// What its client gave.
struct FileBatchSpec {
  std::string input_file_id;
  std::string endpoint;                 // of every line
  std::string completion_window;        // as it was written: "24h"
  std::string retried_from{};           // the batch whose unanswered lines; empty: none
  std::optional<int32_t> max_tokens{};  // in place of the lines' own
  std::string webhook_url{};            // that is told of its end; empty: none
  friend bool operator==(const FileBatchSpec&, const FileBatchSpec&) = default;
};

// In the order in which a batch comes through them; it never goes back.
enum class FileStage : uint8_t {
  validating,  // the file is to be read; no members
  expanding,   // its lines become members
  running,     // it takes no more members
  ended,       // finished, and its results are counted
  failed,      // the file has faults; it never gets members
};
std::string_view to_string(FileStage stage);

// One of the two files of results, counted when the batch ended.
struct ResultFile {
  int64_t lines = 0;
  int64_t bytes = 0;
  bool deleted = false;
  friend bool operator==(const ResultFile&, const ResultFile&) = default;
};

// Of all completed members, in tokens.
struct BatchUsage {
  int64_t input = 0;
  int64_t cached = 0;  // of the input
  int64_t output = 0;
  int64_t reasoning = 0;  // of the output
  friend bool operator==(const BatchUsage&, const BatchUsage&) = default;
};

// The two files that its results are: of requests that were answered, and of all others.
enum class ResultKind : uint8_t { output, errors };
// "file-", the batch's 32 hexadecimal digits, "-output" or "-errors". Requires a batch's id.
std::string result_file_id(std::string_view batch_id, ResultKind kind);
struct ResultName {
  std::string batch_id;
  ResultKind kind = ResultKind::output;
};
std::optional<ResultName> parse_result_file_id(std::string_view id);  // of no such form: nothing

// How far a batch of a file has come.
struct FileProgress {
  FileStage stage = FileStage::validating;
  std::string model{};               // of all lines, once it is validated
  int64_t lines = 0;                 // that become members, once it is validated
  int64_t reached = 0;               // bytes of the file whose lines are members
  std::vector<BatchFault> faults{};  // at most kBatchFaultsMax
  std::optional<WallTime> validated_at{};
  std::optional<WallTime> ended_at{};
  ResultFile output{};
  ResultFile errors{};
  BatchUsage usage{};

  ResultFile& of(ResultKind kind) { return kind == ResultKind::output ? output : errors; }
  const ResultFile& of(ResultKind kind) const {
    return kind == ResultKind::output ? output : errors;
  }
  friend bool operator==(const FileProgress&, const FileProgress&) = default;
};

}  // namespace parkd
