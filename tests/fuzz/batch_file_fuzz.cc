// Any bytes are a batch's input file: however they are cut its lines are the same, and so are its
// faults, each in words that every store can hold; of a file without a fault every line is a
// request. As the body of a message they make one line of a result file.
#include <boost/json.hpp>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/json_reader.h"
#include "lib/base/raw_json.h"
#include "lib/base/text.h"
#include "lib/job/bounds.h"
#include "lib/openai/batch_file.h"
#include "lib/openai/batch_output.h"
#include "tests/support/batch_lines.h"

namespace {

using parkd::testing::TextLine;

constexpr size_t kLinesRead = 200;  // more than a file may have

const parkd::BatchFileRules& rules() {
  static const parkd::BatchFileRules kRules = {
      .endpoint = "/v1/chat/completions", .lines_max = 120, .body_bytes_max = 1024};
  return kRules;
}

void require(bool is_so) {
  if (!is_so) std::abort();
}

// A copy of exactly these bytes, so that a sanitizer sees who reads further.
std::string take_piece(std::string_view& file, size_t n_bytes) {
  std::string piece(file.substr(0, n_bytes));
  file.remove_prefix(piece.size());
  return piece;
}

std::vector<TextLine> cut(std::string_view file, size_t line_bytes_max,
                          const std::function<size_t()>& next_cut) {
  std::vector<TextLine> lines;
  parkd::LineCutter cutter(line_bytes_max, 0);
  const auto take = [&] {
    while (const auto line = cutter.next()) {
      lines.push_back(
          {line->number, line->offset, line->end, std::string(line->text), line->too_long});
    }
  };
  while (!file.empty()) {
    const std::string piece = take_piece(file, next_cut());
    cutter.feed(piece);
    take();
  }
  cutter.end();
  take();
  return lines;
}

parkd::BatchFileFindings check(std::string_view file, const std::function<size_t()>& next_cut) {
  parkd::BatchFileCheck check(rules());
  while (!file.empty()) require(check.feed(take_piece(file, next_cut())).ok());
  return check.finish().value();
}

bool is_json(std::string_view text, size_t depth_max = parkd::kSubmitDepthMax) {
  parkd::JsonMemory memory(text.size());
  return parkd::read_json(text, "", depth_max, memory).ok();
}

void check_faults(const parkd::BatchFileFindings& found) {
  require(found.faults.size() <= parkd::kBatchFaultsMax);
  int64_t before = 0;
  for (const parkd::BatchFault& fault : found.faults) {
    require(fault.code == "empty_file" ? fault.line == 0 && found.n_lines == 0
                                       : fault.line > before);
    before = fault.line;
    for (const std::string& text : {fault.message, fault.param}) {
      require(parkd::is_valid_utf8(text) && text.size() < 1000 && text.find('\0') == text.npos);
    }
    require(!fault.message.empty());
  }
}

void check_request(const parkd::LineRequest& request, const std::string& model) {
  require(!request.custom_id.empty() && request.model == model && is_json(request.body));
  const std::string limited = parkd::with_max_tokens(request.body, "max_tokens", 17);
  const parkd::RawObject before(request.body);
  const parkd::RawObject after(limited);
  const bool has_new_name = before.contains("max_completion_tokens");
  require(is_json(limited) && after.get("model") == before.get("model") &&
          after.get(has_new_name ? "max_completion_tokens" : "max_tokens") == "17");
}

void check_output(std::string_view body) {
  parkd::Message message;
  message.custom_id = std::string(body.substr(0, 40));
  message.ending.body = std::string(body);
  const std::string line = parkd::render_batch_line(message);
  require(line.find('\n') == line.size() - 1 && line.find('\r') == line.npos);
  const bool is_body = is_json(body) && body.substr(0, 1) != "\xEF";  // without a mark
  require(!is_body || is_json(line, parkd::kSubmitDepthMax + 2));
  const parkd::BatchUsage usage = parkd::usage_of(message);
  require(usage.input >= 0 && usage.cached >= 0 && usage.output >= 0 && usage.reasoning >= 0);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view file(reinterpret_cast<const char*>(data), size);
  uint64_t state = size * 0x9e3779b97f4a7c15ull + 1;  // xorshift64, the same for the same input
  const auto in_cuts = [&] {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return size_t{1} + state % 40;
  };
  const auto whole = [&] { return file.size(); };
  for (const size_t max : {size_t{7}, rules().line_bytes_max()}) {
    require(cut(file, max, in_cuts) == parkd::testing::lines_in(file, max));
  }
  const parkd::BatchFileFindings found = check(file, whole);
  const parkd::BatchFileFindings again = check(file, in_cuts);
  require(found.faults == again.faults && found.model == again.model &&
          found.n_lines == again.n_lines);
  check_faults(found);
  std::vector<TextLine> lines = parkd::testing::lines_in(file, rules().line_bytes_max());
  if (lines.size() > kLinesRead) lines.resize(kLinesRead);
  for (const TextLine& line : lines) {
    const auto request = parkd::read_line_request(line.text, {});
    require(request.ok() || request.status().code() == parkd::StatusCode::corrupt);
    if (!found.faults.empty()) continue;
    require(request.ok());
    check_request(*request, found.model);
  }
  check_output(file);
  return 0;
}
