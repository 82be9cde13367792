#include "tools/jobctl/run_batches.h"

#include <algorithm>
#include <boost/json.hpp>
#include <limits>

#include "lib/base/check.h"
#include "tools/jobctl/json_fields.h"

namespace parkd::jobctl {
namespace {

namespace json = boost::json;

// A batch lives 30 days at most; a little less, since clocks differ.
constexpr auto kLongest = std::chrono::hours(30 * 24 - 1);

}  // namespace

Result<std::vector<std::string>> batches_named(const std::string& word) {
  constexpr std::string_view kEnding = ".parkd-run";
  const bool is_mark = word.size() > kEnding.size() &&
                       word.compare(word.size() - kEnding.size(), kEnding.size(), kEnding) == 0;
  const std::string out = is_mark ? word.substr(0, word.size() - kEnding.size()) : word;
  PARKD_ASSIGN_OR_RETURN(const std::optional<RunMark> mark, read_mark(out));
  if (!mark) {
    if (is_mark || word.find('/') != std::string::npos) {
      return invalid("there is no " + mark_path(out) +
                     ": give the id of a batch, or the .parkd-run file of a batch run");
    }
    return std::vector{word};
  }
  std::vector<std::string> ids;
  for (const RunBatch& batch : mark->batches) {
    if (!batch.id.empty()) ids.push_back(batch.id);
  }
  if (ids.empty()) return not_found("the run of " + mark_path(out) + " has submitted nothing");
  return ids;
}

bool RunBatches::was_opened() const {
  return !output_.batches().empty() && !output_.batches().back().id.empty();
}

bool RunBatches::is_open() const {
  return was_opened() && !is_sealed_;
}

Status RunBatches::open_next(int64_t first_line) {
  std::vector<RunBatch> batches = output_.batches();
  if (batches.empty() || !batches.back().id.empty()) {
    SystemClock clock;
    const std::string& deadline = output_.deadline();
    batches.push_back(
        {"", deadline.empty() ? to_rfc3339(clock.now() + kLongest) : deadline, first_line});
    // What it is opened with stays the same for a process that opens it again.
    PARKD_RETURN_IF_ERROR(output_.set_batches(batches));
  }
  json::object request;
  request["name"] = "jobctl batch run";
  request["deadline"] = batches.back().deadline;
  request["idempotency_key"] = output_.run_id() + "/" + std::to_string(batches.size());
  if (retention_s_ > 0) request["retention_s"] = retention_s_;
  const auto opened = client_.open_batch(request);
  if (opened.ok()) batches.back().id = text_at(opened->json, "id");
  if (!opened.ok() && opened.status().code() != StatusCode::unavailable) batches.pop_back();
  PARKD_RETURN_IF_ERROR(output_.set_batches(batches));
  if (!opened.ok()) return opened.status();
  is_sealed_ = false;
  return {};
}

const std::string& RunBatches::batch_of(int64_t line_number, bool again) const {
  const std::vector<RunBatch>& batches = output_.batches();
  PARKD_CHECK(was_opened(), "a batch was opened");
  if (again) return batches.back().id;
  const auto later = std::find_if(batches.begin() + 1, batches.end(), [&](const RunBatch& batch) {
    return batch.first_line > line_number;
  });
  return std::prev(later)->id;
}

Result<RunBatches::Refusal> RunBatches::look_at(const Status& refusal) {
  const std::string& param = refusal.param();
  const bool is_of_deadline = param.size() > 9 && param.substr(param.size() - 9) == ".deadline";
  if (!was_opened() || is_of_deadline) return Refusal::not_the_batchs;
  const std::vector<RunBatch>& batches = output_.batches();
  const auto named = std::find_if(batches.begin(), batches.end(), [&](const RunBatch& batch) {
    return refusal.message().find(batch.id) != std::string::npos;
  });
  if (named == batches.end()) return Refusal::not_the_batchs;
  PARKD_ASSIGN_OR_RETURN(const Answer batch, client_.batch(named->id));
  if (!text_at(batch.json, "cancel_at").empty()) return Refusal::cancelled;
  // A fresh one that will not have it either is not what is wrong.
  const bool is_fresh =
      number_at(batch.json, "total") == 0 && text_at(batch.json, "status") == "open";
  return is_fresh ? Refusal::not_the_batchs : Refusal::takes_no_more;
}

Status RunBatches::seal() {
  if (!is_open()) return {};
  PARKD_RETURN_IF_ERROR(client_.seal_batch(output_.batches().back().id).status());
  is_sealed_ = true;
  return {};
}

Status RunBatches::cancel() {
  for (const RunBatch& batch : output_.batches()) {
    if (batch.id.empty()) continue;
    const auto cancelled = client_.cancel_batch(batch.id);
    if (!cancelled.ok() && cancelled.status().code() != StatusCode::not_found) {
      return cancelled.status();
    }
  }
  return {};
}

std::string RunBatches::name() const {
  if (!was_opened()) return "";
  const std::vector<RunBatch>& batches = output_.batches();
  if (batches.size() == 1) return batches.front().id;
  return batches.front().id + " and " + std::to_string(batches.size() - 1) + " more";
}

std::string RunBatches::word() const {
  const std::vector<RunBatch>& batches = output_.batches();
  if (batches.size() == 1 || output_.is_stream()) return batches.back().id;
  return mark_path(output_.path());
}

}  // namespace parkd::jobctl
