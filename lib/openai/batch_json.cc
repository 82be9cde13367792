#include "lib/openai/batch_json.h"

#include <algorithm>
#include <string_view>

#include "lib/base/json_writer.h"
#include "lib/job/job.h"

namespace parkd {
namespace {

void time(JsonWriter& json, const char* key, const std::optional<WallTime>& value) {
  json.member(key, TextOrNull{value ? to_rfc3339(*value) : ""});
}

class FileBatchJson {
 public:
  explicit FileBatchJson(const Batch& batch)
      : batch_(batch),
        file_(*batch.spec.file),
        at_(batch.progress),
        status_(file_batch_status(batch)) {}

  std::string render() {
    json_.begin_object();
    json_.member("id", batch_.id).member("object", "batch");
    json_.member("endpoint", file_.endpoint);
    json_.member("model", TextOrNull{at_.model});
    add_faults();
    json_.member("input_file_id", file_.input_file_id);
    json_.member("completion_window", file_.completion_window);
    json_.member("status", status_);
    json_.member("output_file_id", TextOrNull{file_id(ResultKind::output)});
    json_.member("error_file_id", TextOrNull{file_id(ResultKind::errors)});
    add_times();
    json_.begin_object("request_counts");
    json_.member("total", std::max(at_.lines, batch_.total));
    json_.member("completed", batch_.completed);
    json_.member("failed", batch_.ended() - batch_.completed).end_object();
    add_usage();
    json_.member("metadata", RawJson{batch_.spec.metadata});
    json_.member("tenant", batch_.spec.tenant);
    json_.member("retried_from", TextOrNull{file_.retried_from});
    add_webhook();
    return json_.end_object().take();
  }

 private:
  // While it runs there is a file as soon as it has a line.
  std::string file_id(ResultKind kind) const {
    const int64_t answered = batch_.completed;
    const int64_t lines = at_.stage == FileStage::ended ? at_.of(kind).lines
                          : kind == ResultKind::output  ? answered
                                                        : batch_.ended() - answered;
    return lines == 0 || at_.of(kind).deleted ? "" : result_file_id(batch_.id, kind);
  }

  void add_faults() {
    if (at_.faults.empty()) {
      json_.member("errors", TextOrNull{""});
      return;
    }
    json_.begin_object("errors").member("object", "list").begin_array("data");
    for (const BatchFault& fault : at_.faults) {
      json_.begin_object();
      json_.member("code", fault.code);
      fault.line > 0 ? json_.member("line", fault.line) : json_.member("line", TextOrNull{""});
      json_.member("message", fault.message);
      json_.member("param", TextOrNull{fault.param}).end_object();
    }
    json_.end_array().end_object();
  }

  void add_time(const char* key, const std::optional<WallTime>& time, bool counts = true) {
    if (time && counts) {
      json_.member(key, unix_seconds(*time));
    } else {
      json_.member(key, TextOrNull{""});
    }
  }

  void add_times() {
    add_time("created_at", batch_.created_at);
    add_time("in_progress_at", at_.validated_at, at_.lines > 0 && at_.stage != FileStage::failed);
    add_time("expires_at", batch_.spec.deadline);
    add_time("finalizing_at", batch_.finished_at, at_.stage != FileStage::failed);
    add_time("completed_at", at_.ended_at, status_ == "completed");
    add_time("failed_at", at_.ended_at ? at_.ended_at : at_.validated_at, status_ == "failed");
    add_time("expired_at", at_.ended_at, status_ == "expired");
    add_time("cancelling_at", batch_.cancel_at);
    add_time("cancelled_at", at_.ended_at, status_ == "cancelled");
    add_time("output_expires_at", results_expire_at(batch_), at_.stage != FileStage::failed);
  }

  void add_usage() {
    if (at_.stage != FileStage::ended) {
      json_.member("usage", TextOrNull{""});
      return;
    }
    json_.begin_object("usage");
    json_.member("input_tokens", at_.usage.input);
    json_.begin_object("input_tokens_details").member("cached_tokens", at_.usage.cached);
    json_.end_object();
    json_.member("output_tokens", at_.usage.output);
    json_.begin_object("output_tokens_details").member("reasoning_tokens", at_.usage.reasoning);
    json_.end_object();
    json_.member("total_tokens", at_.usage.input + at_.usage.output).end_object();
  }

  void add_webhook() {
    if (file_.webhook_url.empty()) {
      json_.member("webhook", TextOrNull{""});
      return;
    }
    const WebhookState& at = batch_.webhook;
    json_.begin_object("webhook").member("url", file_.webhook_url);
    json_.member("status", to_string(at.status)).member("attempts", at.attempts);
    add_time("next_attempt_at", at.next_attempt_at);
    add_time("delivered_at", at.delivered_at);
    json_.member("last_error", TextOrNull{at.last_error}).end_object();
  }

  const Batch& batch_;
  const FileBatchSpec& file_;
  const FileProgress& at_;
  const std::string_view status_;
  JsonWriter json_;
};

}  // namespace

// The words of OpenAI's API for how far it is.
std::string_view file_batch_status(const Batch& batch) {
  const FileProgress& at = batch.progress;
  if (at.stage == FileStage::failed) return "failed";
  if (at.stage != FileStage::ended) {
    if (batch.cancel_at) return "cancelling";
    if (batch.finished_at) return "finalizing";
    return at.stage == FileStage::validating ? "validating" : "in_progress";
  }
  if (batch.cancel_at) return "cancelled";
  if (!at.faults.empty()) return "failed";
  const bool is_whole = batch.deadline_missed == 0 && at.lines > 0 && batch.total >= at.lines;
  return is_whole ? "completed" : "expired";
}

std::string render_batch(const Batch& batch) {
  if (batch.spec.file) return FileBatchJson(batch).render();
  const BatchSpec& spec = batch.spec;
  JsonWriter json;
  json.begin_object();
  json.member("id", TextOrNull{batch.id});
  json.member("name", TextOrNull{spec.name});
  json.member("tenant", TextOrNull{spec.tenant});
  json.member("status", to_string(batch.state()));
  json.member("total", batch.total);
  json.member("completed", batch.completed);
  json.member("failed", batch.failed);
  json.member("cancelled", batch.cancelled);
  json.member("deadline_missed", batch.deadline_missed);
  json.member("quarantined", batch.quarantined);
  json.member("truncated", batch.truncated);
  json.member("unfinished", batch.unfinished());
  if (batch.live) {
    json.member("scheduled", batch.live->scheduled);
    json.member("queued", batch.live->queued);
    json.member("claimed", batch.live->claimed);
    json.member("cancelling", batch.live->cancelling);
  }
  time(json, "created_at", batch.created_at);
  time(json, "sealed_at", batch.sealed_at);
  time(json, "cancel_at", batch.cancel_at);
  time(json, "finished_at", batch.finished_at);
  time(json, "deadline", spec.deadline);
  if (spec.retention) json.member("retention_s", spec.retention->count());
  json.member("metadata", RawJson{spec.metadata});
  return json.end_object().take();
}

std::string render_batches(const std::vector<Batch>& batches, bool has_more) {
  JsonWriter json;
  json.begin_object().member("object", "list").begin_array("data");
  for (const Batch& batch : batches) json.element(RawJson{render_batch(batch)});
  json.end_array();
  json.member("first_id", TextOrNull{batches.empty() ? "" : batches.front().id});
  json.member("last_id", TextOrNull{batches.empty() ? "" : batches.back().id});
  return json.member("has_more", has_more).end_object().take();
}

std::string render_requeued(const std::vector<RequeuedJob>& jobs) {
  JsonWriter json;
  json.begin_object().begin_array("jobs");
  for (const RequeuedJob& job : jobs) {
    json.begin_object();
    json.member("requeued_from", job.requeued_from);
    json.member("id", job.id);
    json.member("mailbox_key", TextOrNull{job.mailbox_key});
    json.member("existed", job.existed);
    json.end_object();
  }
  return json.end_array().end_object().take();
}

}  // namespace parkd
