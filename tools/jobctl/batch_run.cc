// The loop of a run, and what comes back. (What goes out: batch_submit.cc; its end before the end:
// batch_stop.cc.)
#include "tools/jobctl/batch_run.h"

#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <iostream>
#include <set>

#include "lib/base/check.h"
#include "lib/base/json_writer.h"
#include "lib/base/raw_json.h"
#include "tools/jobctl/commands.h"
#include "tools/jobctl/json_fields.h"
#include "tools/jobctl/run_models.h"

namespace parkd::jobctl {
namespace {

namespace json = boost::json;

constexpr size_t kOpenJobsMax = 4096;  // submitted and not finished
constexpr int64_t kPageMessages = 500;
constexpr int64_t kTakenMessages = 1000;
constexpr int kBackOffMax = 20;
constexpr int kIdleWaits = 3;           // so many long polls without a result: what is the matter?
constexpr size_t kLookedAtModels = 64;  // ... with so many models of open lines
constexpr int64_t kWait_s = 2;          // of one long poll: how late Ctrl-C may be noticed

}  // namespace

int BatchRun::run() {
  progress_.start(output_.counts());
  if (!is_done() && batches_.was_opened()) progress_.note("run " + batches_.name());
  for (const std::string& note : output_.notes()) progress_.note(note);
  bool caught_up = false;  // with what earlier processes left in the mailbox
  while (!is_done() && !is_stopping()) {
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
      progress_.caught_up(output_.counts());
      plan();
    }
    if (status.ok() && to_submit_.empty()) status = batches_.seal();
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
  JsonWriter line;
  line.begin_object().member("id", "batch_req_" + std::to_string(number_at(message, "id")));
  line.member("custom_id", custom_id).member("response", RawJson{raw_member(raw, "response")});
  line.member("error", RawJson{raw_member(raw, "error")}).end_object();
  return output_.append(custom_id, line.take());
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
  std::set<std::string> named;
  for (const auto& [custom_id, submission] : open_) {
    named.insert(model_of(submission));
    if (named.size() >= kLookedAtModels) break;
  }
  PARKD_ASSIGN_OR_RETURN(const std::optional<std::string> failed, failed_model(client_, named));
  if (!failed) return {};
  return conflict(*failed + "; " + std::to_string(open_.size()) +
                  " accepted lines stay queued: repair it and run the same command again");
}

void BatchRun::wait_for_daemon(const std::string& why) {
  progress_.note("waiting: " + why);
  for (int i = 0; i < back_off_ && !is_stopping(); ++i) ::usleep(100'000);
  back_off_ = std::min(2 * back_off_, kBackOffMax);
}

int BatchRun::give_up(const Status& status) {
  progress_.end();
  if (!has_submitted_) output_.abandon();
  return report(status);
}

// OUT has them, synced. A batch's would else stay until its deadline.
Status BatchRun::remove_results() {
  bool is_empty = false;
  while (!is_empty) {
    PARKD_RETURN_IF_ERROR(client_.take(
        "batch-" + output_.run_id(), kTakenMessages, [&is_empty](const Answer& taken) -> Status {
          const json::value* messages = find(taken.json, "messages");
          is_empty = messages == nullptr || !messages->is_array() || messages->get_array().empty();
          return {};
        }));
  }
  return {};
}

int BatchRun::finish() {
  progress_.end();
  if (!is_done()) return stop();
  const BatchCounts& counts = output_.counts();
  const bool was_complete = output_.is_complete();
  if (const Status status = output_.complete(); !status.ok()) return report(status);
  // What went into a pipe may not have arrived.
  if (!was_complete && !output_.is_stream() && batches_.was_opened()) {
    if (const Status status = remove_results(); !status.ok()) {
      progress_.note("the results stay in parkd, too, until they expire: " + status.message());
    }
  }
  progress_.summary(counts, output_.is_stream() ? "standard output" : options_.output);
  if (batches_.was_opened()) std::cerr << "run " << batches_.name() << "\n";
  return counts.failed == 0 ? kExitOk : kExitFailedOutcome;
}

}  // namespace parkd::jobctl
