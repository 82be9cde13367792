// A batch's input file: one request a line, {"custom_id", "method": "POST", "url", "body"}, as
// OpenAI's Batches have it, read twice. First BatchFileCheck says what is wrong with it, and
// nothing runs of a file with a fault; then its lines are read one by one and become jobs.
//
// A fault is what makes the file no list of requests to one endpoint and one model. What is wrong
// inside a body is none: such a line becomes a job, which is refused alone. A member that is null
// is left out. One thread.
#pragma once

#include <array>
#include <boost/json/fwd.hpp>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/json_memory.h"
#include "lib/base/keyed_hash.h"
#include "lib/base/status.h"
#include "lib/job/batch_fault.h"
#include "lib/openai/line_cutter.h"

namespace parkd {

// Beside a body, for its line's custom_id (each byte may be written as \u00xx), url and blanks.
inline constexpr size_t kBatchLineRoomBytes = 16 << 10;

struct BatchFileRules {
  std::string endpoint;       // what every line's url must be
  int64_t lines_max = 0;      // requests
  size_t body_bytes_max = 0;  // of one request's body
  // Asked before reading a line takes so many bytes more than its text has; empty: granted.
  JsonMemory::Grow grow{};

  size_t line_bytes_max() const { return body_bytes_max + kBatchLineRoomBytes; }
};

struct BatchFileFindings {
  std::string model;    // of all lines
  int64_t n_lines = 0;  // that are requests, be they good or not
  // In the order of lines, one a line, at most kBatchFaultsMax: then the check went no further.
  // Where there are some, model and n_lines say only how far it came.
  std::vector<BatchFault> faults;
};

// Which line a custom_id stood in, for ids of any length in 32 to 64 bytes each: by a 128-bit hash
// under a key of its own, so that two ids cannot be made to collide.
class SeenIds {
 public:
  SeenIds();
  // The line that had it before; 0: none, and this one has it now.
  int64_t insert(std::string_view id, int64_t line);

 private:
  struct Entry {
    std::array<uint64_t, 2> hash{};
    int64_t line = 0;  // 0: free
  };
  Entry& place_of(const std::array<uint64_t, 2>& hash);

  const std::array<HashKey, 2> keys_;
  std::vector<Entry> entries_;  // open addressing, a power of two
  size_t n_taken_ = 0;
};

class BatchFileCheck {
 public:
  explicit BatchFileCheck(BatchFileRules rules);

  // Errors: unavailable where no memory was granted to read a line; the check cannot go on.
  Status feed(std::string_view piece);
  // No byte that follows would change what is found.
  bool is_done() const { return is_done_; }
  // Errors: as feed.
  Result<BatchFileFindings> finish();

 private:
  using Fault = std::optional<BatchFault>;
  Status check_lines();
  Status check_line(const CutLine& line);
  Fault check_members(const boost::json::object& members, std::string_view text, int64_t number);
  Fault check_custom_id(const boost::json::object& members, int64_t number);
  Fault check_url(const boost::json::object& members) const;
  Fault check_body(const boost::json::object& members, std::string_view text) const;
  Fault check_model(const boost::json::object& members, int64_t number);
  void add(BatchFault fault, int64_t number);

  const BatchFileRules rules_;
  LineCutter lines_;
  SeenIds ids_;
  BatchFileFindings findings_;
  int64_t model_line_ = 0;  // that named the model first
  bool is_done_ = false;
};

// What a line that passed the check asks for.
struct LineRequest {
  std::string custom_id;
  std::string model;
  std::string body;  // as it stands in the line
};

// `text`: a CutLine's. Errors: corrupt where the line is none that passed the check, unavailable.
Result<LineRequest> read_line_request(std::string_view text, const JsonMemory::Grow& grow);

// The body, a JSON object, with this limit on generated tokens in place of its own, under the name
// or names that it has there, else as `field` of its endpoint (endpoints.h). All other members keep
// their bytes.
std::string with_max_tokens(std::string_view body, std::string_view field, int32_t max_tokens);

}  // namespace parkd
