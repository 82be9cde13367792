// What a run sends: its lines as jobs, chunk by chunk, and what becomes of those that parkd
// refuses.
#include <algorithm>
#include <boost/json.hpp>
#include <cstdio>
#include <set>

#include "lib/base/json_writer.h"
#include "lib/base/raw_json.h"
#include "lib/base/text.h"
#include "lib/job/job.h"
#include "lib/openai/errors.h"
#include "tools/jobctl/batch_run.h"
#include "tools/jobctl/json_fields.h"
#include "tools/jobctl/run_models.h"

namespace parkd::jobctl {
namespace {

namespace json = boost::json;

constexpr size_t kChunkBytes = 8 << 20;

// The index in "jobs[12].body.temperature"; nothing for another param.
std::optional<size_t> job_index(const std::string& param) {
  size_t index = 0;
  if (std::sscanf(param.c_str(), "jobs[%zu]", &index) != 1) return std::nullopt;
  return index;
}

// A refusal that is about what was sent, not about whether anything can be.
bool is_of_a_line(const Status& status) {
  return status.code() == StatusCode::invalid || status.code() == StatusCode::not_found ||
         status.code() == StatusCode::conflict || status.code() == StatusCode::denied;
}

}  // namespace

// Before anything is submitted: whether any line can run. Errors: as can_run().
Status BatchRun::check_models() {
  std::set<std::string> named;
  for (const Submission& submission : to_submit_) named.insert(model_of(submission));
  PARKD_RETURN_IF_ERROR(can_run(client_, named));
  models_can_run_ = true;
  return {};
}

// Of the lines that are to be submitted. Where the run's deadline has passed they end here.
Status BatchRun::open_batch() {
  const Status opened = batches_.open_next(to_submit_.front().line->number);
  if (opened.code() == StatusCode::invalid && opened.param() == "deadline" &&
      batches_.was_opened()) {
    return end_rest(
        failure::kDeadlineMissed,
        "the run's deadline passed before this line was submitted (" + opened.message() + ")");
  }
  PARKD_RETURN_IF_ERROR(opened);
  const std::string id = batches_.name();
  progress_.note("run " + id + ": jobctl batch status|cancel " + batches_.word());
  return {};
}

std::string BatchRun::make_job(const Submission& submission, const std::string& text) const {
  RawObject job(text);  // checked when the input was opened
  const bool again = submission.attempt > 1;
  job.set_text("idempotency_key",
               output_.run_id() + "/" + to_hex(fnv1a64(submission.line->custom_id)) + "/" +
                   std::to_string(submission.line->number) +
                   (again ? "#" + std::to_string(submission.attempt) : std::string()));
  job.set_text("mailbox_key", "batch-" + output_.run_id());
  job.set_text("batch_id", batches_.batch_of(submission.line->number, again));
  if (!job.contains("priority")) job.set_text("priority", options_.priority);
  if (!options_.model.empty()) name_model(job, options_.model);
  if (retention_s_ > 0) job.set("retention_s", std::to_string(retention_s_));
  return job.text();
}

Status BatchRun::submit_chunk() {
  if (const Submission first = to_submit_.front(); !first.line->refusal.ok()) {
    to_submit_.pop_front();
    return line_refused(first, first.line->refusal);
  }
  if (!batches_.is_open()) PARKD_RETURN_IF_ERROR(open_batch());
  if (to_submit_.empty()) return {};
  std::vector<Submission> chunk;
  std::vector<std::string> jobs;
  size_t bytes = 0;
  while (chunk.size() < chunk_jobs_ && chunk.size() < to_submit_.size() && bytes < kChunkBytes) {
    const Submission& next = to_submit_[chunk.size()];
    if (!next.line->refusal.ok()) break;  // its turn comes
    PARKD_ASSIGN_OR_RETURN(const std::string text, input_.read(*next.line));
    bytes += text.size();
    jobs.push_back(make_job(next, text));
    chunk.push_back(next);
  }
  has_submitted_ = true;
  const auto answer = client_.submit(jobs_text(jobs));
  return answer.ok() ? chunk_accepted(chunk, *answer) : chunk_refused(chunk, answer.status());
}

Status BatchRun::chunk_refused(const std::vector<Submission>& chunk, const Status& status) {
  if (is_of_a_line(status)) {
    PARKD_ASSIGN_OR_RETURN(const RunBatches::Refusal refusal, batches_.look_at(status));
    if (refusal == RunBatches::Refusal::cancelled) {
      return end_rest(failure::kCancelled, "the run was cancelled before this line was submitted");
    }
    if (refusal == RunBatches::Refusal::takes_no_more) return open_batch();
  }
  // As many as that may never fit into the queue.
  if (status.code() == StatusCode::exhausted) chunk_jobs_ = std::max<size_t>(chunk.size() / 2, 1);
  auto at_fault = job_index(status.param());
  if (!at_fault && is_of_a_line(status)) {
    // Which line was not said: fewer are sent until one is left.
    if (chunk.size() > 1) {
      chunk_jobs_ = chunk.size() / 2;
      return {};
    }
    at_fault = 0;
  }
  if (!at_fault || *at_fault >= chunk.size()) return status;
  chunk_jobs_ = kChunkJobs;
  // A right that the first line lacks, all of them may: some other has to be accepted first.
  if (status.code() == StatusCode::denied && !has_accepted_) {
    if (++n_denied_ >= to_submit_.size()) return status;
    const auto place = to_submit_.begin() + static_cast<std::ptrdiff_t>(*at_fault);
    std::rotate(place, place + 1, to_submit_.end());
    return {};
  }
  // None of the chunk was taken, for this line's sake: it ends here, its neighbours are sent again.
  const Submission submission = chunk[*at_fault];
  to_submit_.erase(to_submit_.begin() + static_cast<std::ptrdiff_t>(*at_fault));
  if (status.code() != StatusCode::conflict) return line_refused(submission, status);
  // The key is this run's and this line's: the job was accepted by an earlier process, with other
  // options. It stays as it is.
  open_[submission.line->custom_id] = submission;
  return {};
}

Status BatchRun::chunk_accepted(const std::vector<Submission>& chunk, const Answer& answer) {
  has_accepted_ = true;
  const json::value* jobs = find(answer.json, "jobs");
  if (jobs == nullptr || !jobs->is_array() || jobs->get_array().size() != chunk.size()) {
    return internal_error("the daemon's answer to a submit cannot be read");
  }
  for (size_t i = 0; i < chunk.size(); ++i) {
    const std::string& custom_id = chunk[i].line->custom_id;
    open_[custom_id] = chunk[i];
    if (flag_at(jobs->get_array()[i], "finished")) finished_[custom_id] = chunk[i];
  }
  to_submit_.erase(to_submit_.begin(),
                   to_submit_.begin() + static_cast<std::ptrdiff_t>(chunk.size()));
  chunk_jobs_ = std::min(2 * chunk_jobs_, kChunkJobs);
  return {};
}

// A line that will not be accepted.
Status BatchRun::line_refused(const Submission& submission, const Status& status) {
  const size_t dot = status.param().find('.');
  const std::string param = dot == std::string::npos ? "" : status.param().substr(dot + 1);
  const std::string_view code = status.code() == StatusCode::unavailable
                                    ? failure::kModelUnavailable
                                    : failure::kInvalidRequest;
  return end_line(submission, http_status_of(status.code()), code, status.message(), param);
}

// A failed result line, as OpenAI writes it, of a line that is not a job.
Status BatchRun::end_line(const Submission& submission, int32_t http_status, std::string_view code,
                          const std::string& message, const std::string& param) {
  const std::string& custom_id = submission.line->custom_id;
  JsonWriter line;
  line.begin_object().member("id", "batch_req_refused_" + std::to_string(submission.line->number));
  line.member("custom_id", custom_id).begin_object("response");
  line.member("status_code", http_status).member("request_id", nullptr);
  line.member("body", RawJson{render_error(http_status, code, message, param)}).end_object();
  return output_.append(custom_id, line.member("error", nullptr).end_object().take());
}

Status BatchRun::end_rest(std::string_view code, const std::string& message) {
  const int32_t http_status = ended_as(code, "").status_code;
  while (!to_submit_.empty()) {
    PARKD_RETURN_IF_ERROR(end_line(to_submit_.front(), http_status, code, message, ""));
    to_submit_.pop_front();
  }
  return {};
}

}  // namespace parkd::jobctl
