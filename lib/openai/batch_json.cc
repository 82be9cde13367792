#include "lib/openai/batch_json.h"

#include "lib/base/json_writer.h"
#include "lib/job/job.h"

namespace parkd {
namespace {

void time(JsonWriter& json, const char* key, const std::optional<WallTime>& value) {
  json.member(key, TextOrNull{value ? to_rfc3339(*value) : ""});
}

}  // namespace

std::string render_batch(const Batch& batch) {
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
