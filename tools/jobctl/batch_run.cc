// jobctl batch run: a file of OpenAI batch lines in, a file of OpenAI result lines out.
//
// One loop: submit a chunk, collect what has finished, show progress. All that must survive lies in
// OUT and its mark (batch_output.h) and in the daemon; idempotency keys made of the run's id and
// the line make a repeated submit the same job, and the mailbox is read without taking, so any of
// the two sides can die anywhere.
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cstdio>
#include <deque>
#include <iostream>
#include <map>
#include <set>
#include <sstream>

#include "lib/base/check.h"
#include "lib/base/clock.h"
#include "lib/base/text.h"
#include "lib/job/completion_response.h"
#include "tools/jobctl/batch_input.h"
#include "tools/jobctl/batch_output.h"
#include "tools/jobctl/commands.h"
#include "tools/jobctl/json_fields.h"
#include "tools/jobctl/progress.h"
#include "tools/jobctl/raw_json.h"
#include "tools/jobctl/time_option.h"

namespace parkd::jobctl {
namespace {

namespace json = boost::json;

constexpr size_t kChunkJobs = 64;  // submitted together, whole or not at all
constexpr size_t kChunkBytes = 8 << 20;
constexpr size_t kOpenJobsMax = 4096;  // submitted and not finished
constexpr int64_t kPageMessages = 500;
constexpr int kBackOffMax = 20;
constexpr int kIdleWaits = 3;          // so many long polls without a result: what is the matter?
constexpr size_t kLookedAtLines = 64;  // ... with the models of so many open lines
constexpr int64_t kWait_s = 2;         // of one long poll: how late Ctrl-C may be noticed

volatile sig_atomic_t interrupted = 0;

void on_interrupt(int) {
  interrupted = 1;
}

struct BatchRunOptions {
  std::string input;
  std::string output;
  std::string model;
  std::string priority = "low";
  std::string deadline;
  std::string retention;
  std::string retry_failed;  // codes, comma between; "*": all; empty: none
};

class BatchRun {
 public:
  BatchRun(const BatchRunOptions& options, Client& client, BatchInput input, BatchOutput output)
      : options_(options), client_(client), input_(std::move(input)), output_(std::move(output)) {}

  int run();

 private:
  struct Submission {
    const BatchLine* line = nullptr;
    int attempt = 1;  // grows when an earlier one finished and its result is gone
  };

  void plan();
  const std::string& model_of(const Submission& submission) const;
  Status check_models();
  Status submit_chunk();
  Result<json::object> make_job(const Submission& submission, const std::string& text) const;
  Status chunk_accepted(const std::vector<Submission>& chunk, const Answer& answer);
  Status chunk_refused(const std::vector<Submission>& chunk, const Status& status);
  Status refuse_line(const Submission& submission, const Status& status);
  Status collect(int64_t wait_s);
  Status take_in(const json::value& message, std::string_view raw);
  void resubmit_lost();
  bool is_done() const { return output_.counts().done == output_.counts().total; }
  Status look_at_models();
  void wait_for_daemon(const std::string& why);
  int give_up(const Status& status);
  int finish();

  const BatchRunOptions& options_;
  Client& client_;
  const BatchInput input_;
  BatchOutput output_;
  int64_t retention_s_ = 0;
  std::deque<Submission> to_submit_;
  std::map<std::string, Submission> open_;      // submitted, by custom_id
  std::map<std::string, Submission> finished_;  // ... of which the daemon said: finished before
  std::string cursor_;
  bool models_can_run_ = false;     // at least one line's
  bool has_submitted_ = false;      // this process
  bool has_accepted_ = false;       // parkd, a line of this process
  size_t n_denied_ = 0;             // lines in turn, while none was accepted
  size_t chunk_jobs_ = kChunkJobs;  // fewer where a line is refused, or has no room
  int idle_waits_ = 0;              // since something last came
  int back_off_ = 1;                // tenths of a second until the daemon is tried again
  Progress progress_;
};

int BatchRun::run() {
  if (!options_.retention.empty()) {
    const auto retention = parse_duration(options_.retention);
    if (!retention.ok()) return report(retention.status());
    retention_s_ = retention->count();
  }
  progress_.start(output_.counts());
  for (const std::string& note : output_.notes()) progress_.note(note);
  bool caught_up = false;  // with what earlier processes left in the mailbox
  while (!is_done() && interrupted == 0) {
    Status status;
    const bool may_submit = !to_submit_.empty() && open_.size() < kOpenJobsMax;
    if (may_submit && !models_can_run_) status = check_models();
    if (may_submit && status.ok()) status = submit_chunk();
    // A refusal for want of room ends when results leave it: they are collected all the same.
    const Status refused = status.code() == StatusCode::exhausted ? status : Status();
    const bool may_wait = caught_up && (!may_submit || !refused.ok());
    if (status.ok() || !refused.ok()) status = collect(may_wait ? kWait_s : 0);
    if (status.ok() && !caught_up) {
      caught_up = true;
      plan();
    }
    if (!refused.ok()) progress_.note("waiting: " + refused.message());
    if (status.code() == StatusCode::unavailable || status.code() == StatusCode::exhausted) {
      wait_for_daemon(status.message());
      continue;
    }
    back_off_ = 1;
    if (status.ok() && idle_waits_ >= kIdleWaits) status = look_at_models();
    if (!status.ok()) return give_up(status);
    progress_.show(output_.counts());
  }
  return finish();
}

// What nothing has come for yet is submitted, again where an earlier process had done it already.
void BatchRun::plan() {
  for (const BatchLine& line : input_.lines()) {
    if (!output_.has(line.custom_id)) to_submit_.push_back({&line, 1});
  }
}

// The model that a line asks for; empty: whichever is the default.
const std::string& BatchRun::model_of(const Submission& submission) const {
  return options_.model.empty() ? submission.line->model : options_.model;
}

std::string why_not_loaded(const json::value& model) {
  return "model " + text_at(model, "id") + " could not be loaded: " + text_at(model, "failure");
}

// Before anything is submitted: whether any line can run. A model that is being loaded is waited
// for. Errors: conflict, with the model's own message, when none can; unavailable while that is
// unknown.
Status BatchRun::check_models() {
  PARKD_ASSIGN_OR_RETURN(const Answer answer, client_.models());
  const json::value* data = find(answer.json, "data");
  if (data == nullptr || !data->is_array())
    return internal_error("the answer of models cannot be read");
  const json::array& models = data->get_array();
  std::set<std::string> named;
  for (const Submission& submission : to_submit_) {
    named.insert(model_of(submission));
  }
  std::string why;
  std::string loading;
  for (const std::string& name : named) {
    const auto fits = [&name](const json::value& model) {
      return name.empty() || text_at(model, "id") == name;
    };
    const auto failed = [](const json::value& model) {
      return text_at(model, "state") == "failed";
    };
    const auto found = std::find_if(models.begin(), models.end(), [&](const json::value& model) {
      return fits(model) && !failed(model);
    });
    if (found != models.end()) {
      if (text_at(*found, "state") != "loading") {
        models_can_run_ = true;
        return {};
      }
      loading = text_at(*found, "id");
      continue;
    }
    const auto broken = std::find_if(models.begin(), models.end(), fits);
    if (!why.empty()) why += "; ";
    if (broken != models.end()) {
      why += why_not_loaded(*broken);
    } else {
      why += "there is no model " + name;
    }
  }
  if (!loading.empty()) return unavailable("model " + loading + " is being loaded");
  std::string here;
  for (const json::value& model : models) here += (here.empty() ? "" : ", ") + text_at(model, "id");
  return conflict("no line can run, so none was submitted: " + why +
                  (here.empty() ? " (no model is here)" : " (models here: " + here + ")") +
                  "; --model runs every line on one");
}

// --- submitting

Result<json::object> BatchRun::make_job(const Submission& submission,
                                        const std::string& text) const {
  json::object job = json::parse(text).get_object();  // checked when the input was opened
  const std::string attempt =
      submission.attempt > 1 ? "#" + std::to_string(submission.attempt) : std::string();
  job["idempotency_key"] = output_.run_id() + "/" + to_hex(fnv1a64(submission.line->custom_id)) +
                           "/" + std::to_string(submission.line->number) + attempt;
  job["mailbox_key"] = "batch-" + output_.run_id();
  // A label, for whoever looks at the queue.
  if (client_.takes_any_batch_id()) job["batch_id"] = output_.run_id();
  if (!job.contains("priority")) job["priority"] = options_.priority;
  if (!options_.model.empty()) {
    job["model"] = options_.model;
    if (json::object* body = job["body"].if_object()) body->erase("model");
  }
  const std::string& deadline = output_.deadline();
  if (!deadline.empty() && !job.contains("deadline")) job["deadline"] = deadline;
  if (retention_s_ > 0) job["retention_s"] = retention_s_;
  return job;
}

Status BatchRun::submit_chunk() {
  std::vector<Submission> chunk;
  json::array jobs;
  size_t bytes = 0;
  while (chunk.size() < chunk_jobs_ && chunk.size() < to_submit_.size() && bytes < kChunkBytes) {
    const Submission& next = to_submit_[chunk.size()];
    PARKD_ASSIGN_OR_RETURN(const std::string text, input_.read(*next.line));
    PARKD_ASSIGN_OR_RETURN(json::object job, make_job(next, text));
    bytes += text.size();
    jobs.push_back(std::move(job));
    chunk.push_back(next);
  }
  has_submitted_ = true;
  const auto answer = client_.submit(json::object{{"jobs", std::move(jobs)}});
  return answer.ok() ? chunk_accepted(chunk, *answer) : chunk_refused(chunk, answer.status());
}

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

Status BatchRun::chunk_refused(const std::vector<Submission>& chunk, const Status& status) {
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
  if (status.code() != StatusCode::conflict) return refuse_line(submission, status);
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

// A line that will not be accepted: a failed result line, as OpenAI writes it.
Status BatchRun::refuse_line(const Submission& submission, const Status& status) {
  const size_t dot = status.param().find('.');
  const std::string param = dot == std::string::npos ? "" : status.param().substr(dot + 1);
  const std::string& custom_id = submission.line->custom_id;
  const int32_t http_status = http_status_of(status.code());
  const std::string_view code = status.code() == StatusCode::unavailable
                                    ? failure::kModelUnavailable
                                    : failure::kInvalidRequest;
  json::object line;
  line["id"] = "batch_req_refused_" + std::to_string(submission.line->number);
  line["custom_id"] = custom_id;
  line["response"] = {
      {"status_code", http_status},
      {"request_id", nullptr},
      {"body", json::parse(render_error(http_status, code, status.message(), param))}};
  line["error"] = nullptr;
  return output_.append(custom_id, json::serialize(line));
}

// --- collecting

Status BatchRun::collect(int64_t wait_s) {
  for (;;) {
    PARKD_ASSIGN_OR_RETURN(const Answer answer, client_.mailbox({"batch-" + output_.run_id(),
                                                                 cursor_, kPageMessages, wait_s}));
    const json::value* messages = find(answer.json, "messages");
    if (messages == nullptr || !messages->is_array()) {
      return internal_error("the daemon's mailbox answer cannot be read");
    }
    const json::array& list = messages->get_array();
    const std::vector<std::string_view> raw = raw_elements(raw_member(answer.text, "messages"));
    PARKD_CHECK(raw.size() == list.size(), "two readings of one answer agree");
    for (size_t i = 0; i < list.size(); ++i) PARKD_RETURN_IF_ERROR(take_in(list[i], raw[i]));
    if (!list.empty()) cursor_ = text_at(answer.json, "next_cursor");
    idle_waits_ = list.empty() && wait_s > 0 ? idle_waits_ + 1 : 0;
    if (list.size() < static_cast<size_t>(kPageMessages)) break;
    wait_s = 0;
  }
  resubmit_lost();
  return {};
}

Status BatchRun::take_in(const json::value& message, std::string_view raw) {
  const std::string custom_id = text_at(message, "custom_id");
  open_.erase(custom_id);
  finished_.erase(custom_id);
  if (output_.has(custom_id)) return {};
  std::string line = R"({"id":"batch_req_)" + std::to_string(number_at(message, "id"));
  line += R"(","custom_id":)";
  append_json_string(line, custom_id);
  line += R"(,"response":)" + std::string(raw_member(raw, "response"));
  line += R"(,"error":)" + std::string(raw_member(raw, "error")) + "}";
  return output_.append(custom_id, std::move(line));
}

// The mailbox was read to its end: a job that finished before this process asked, and has no
// message there, had one that expired before it was written down. It has to run again.
void BatchRun::resubmit_lost() {
  for (const auto& [custom_id, submission] : finished_) {
    open_.erase(custom_id);
    to_submit_.push_back({submission.line, submission.attempt + 1});
  }
  finished_.clear();
}

// A model that could not be loaded will not answer, however long we wait. Its accepted lines stay
// queued for the day it can.
Status BatchRun::look_at_models() {
  idle_waits_ = 0;
  PARKD_ASSIGN_OR_RETURN(const Answer answer, client_.models());
  const json::value* data = find(answer.json, "data");
  if (data == nullptr || !data->is_array()) return {};
  const json::array& models = data->get_array();
  size_t looked_at = 0;
  for (const auto& [custom_id, submission] : open_) {
    if (++looked_at > kLookedAtLines) break;
    const std::string& name = model_of(submission);
    for (const json::value& model : models) {
      const bool is_its = name.empty() ? models.size() == 1 : text_at(model, "id") == name;
      if (!is_its || text_at(model, "state") != "failed") continue;
      return conflict(why_not_loaded(model) + "; " + std::to_string(open_.size()) +
                      " accepted lines stay queued: repair it and run the same command again");
    }
  }
  return {};
}

void BatchRun::wait_for_daemon(const std::string& why) {
  progress_.note("waiting: " + why);
  for (int i = 0; i < back_off_ && interrupted == 0; ++i) ::usleep(100'000);
  back_off_ = std::min(2 * back_off_, kBackOffMax);
}

int BatchRun::give_up(const Status& status) {
  progress_.end();
  if (!has_submitted_) output_.abandon();
  return report(status);
}

int BatchRun::finish() {
  progress_.end();
  const BatchCounts& counts = output_.counts();
  if (!is_done()) {
    std::cerr << "jobctl: interrupted with " << counts.done << " of " << counts.total
              << " results in " << options_.output << "; accepted jobs go on. "
              << (output_.is_stream()
                      ? "Their results: jobctl mailbox batch-" + output_.run_id() + "\n"
                      : "Continue with the same command.\n");
    return kExitInterrupted;
  }
  if (const Status status = output_.complete(); !status.ok()) return report(status);
  progress_.summary(counts, output_.is_stream() ? "standard output" : options_.output);
  return counts.failed == 0 ? kExitOk : kExitFailedOutcome;
}

int batch_run(const GlobalOptions& globals, const BatchRunOptions& options) {
  auto input = BatchInput::open(options.input);
  if (!input.ok()) return report(input.status());
  SystemClock clock;
  const auto deadline = parse_instant(options.deadline, clock.now());
  if (!deadline.ok()) return report(deadline.status());
  RetryCodes retry;
  if (!options.retry_failed.empty()) {
    retry.emplace();
    std::istringstream codes(options.retry_failed);
    for (std::string code; std::getline(codes, code, ',');) retry->push_back(code);
  }
  auto output =
      BatchOutput::open(options.output, *input,
                        {options.model, options.priority, *deadline, options.retention}, retry);
  if (!output.ok()) return report(output.status());
  struct sigaction action {};
  action.sa_handler = on_interrupt;
  action.sa_flags = SA_RESETHAND;  // a second Ctrl-C kills
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
  const auto client = connect(globals);
  if (!client.ok()) return report(client.status());
  return BatchRun(options, **client, std::move(input).value(), std::move(output).value()).run();
}

}  // namespace

void add_batch_run(CLI::App& batch, const GlobalOptions& globals, Chosen& chosen) {
  auto options = std::make_shared<BatchRunOptions>();
  CLI::App* command = batch.add_subcommand(
      "run", "Run OpenAI batch lines; run the same command again after any interruption");
  command->add_option("input", options->input, "JSONL of OpenAI batch lines; - = standard input")
      ->required();
  command
      ->add_option("-o,--output", options->output,
                   "JSONL of results, a file of this run's own; - = standard output")
      ->required();
  command->add_flag("--retry-failed{*}", options->retry_failed,
                    "Run the failed lines of a complete run again; --retry-failed=CODE,CODE: only "
                    "those that failed with one of these");
  command->add_option("--model", options->model, "Run every line on this model");
  command->add_option("--priority", options->priority, "high, normal or low (default: low)");
  command->add_option("--deadline", options->deadline, "+8h, or 2026-01-31T12:00:00Z");
  command->add_option("--retention", options->retention, "Life of the results in parkd: 1m to 30d");
  command->callback([options, &globals, &chosen] {
    chosen = [options, &globals] { return batch_run(globals, *options); };
  });
}

}  // namespace parkd::jobctl
