#include "lib/openai/batch_json.h"

#include "lib/base/text.h"

namespace parkd {
namespace {

void field(std::string& out, const char* key, std::string_view raw) {
  if (out.back() != '{') out += ',';
  out += std::string("\"") + key + "\":";
  out += raw;
}

void number(std::string& out, const char* key, int64_t value) {
  field(out, key, std::to_string(value));
}

// Empty is null.
void text(std::string& out, const char* key, std::string_view value) {
  std::string literal = "null";
  if (!value.empty()) {
    literal.clear();
    append_json_string(literal, value);
  }
  field(out, key, literal);
}

void time(std::string& out, const char* key, const std::optional<WallTime>& value) {
  text(out, key, value ? to_rfc3339(*value) : "");
}

}  // namespace

std::string render_batch(const Batch& batch) {
  const BatchSpec& spec = batch.spec;
  std::string out = "{";
  text(out, "id", batch.id);
  text(out, "name", spec.name);
  text(out, "tenant", spec.tenant);
  text(out, "status", to_string(batch.state()));
  number(out, "total", batch.total);
  number(out, "completed", batch.completed);
  number(out, "failed", batch.failed);
  number(out, "cancelled", batch.cancelled);
  number(out, "deadline_missed", batch.deadline_missed);
  number(out, "quarantined", batch.quarantined);
  number(out, "truncated", batch.truncated);
  number(out, "unfinished", batch.unfinished());
  if (batch.live) {
    number(out, "scheduled", batch.live->scheduled);
    number(out, "queued", batch.live->queued);
    number(out, "claimed", batch.live->claimed);
    number(out, "cancelling", batch.live->cancelling);
  }
  time(out, "created_at", batch.created_at);
  time(out, "sealed_at", batch.sealed_at);
  time(out, "cancel_at", batch.cancel_at);
  time(out, "finished_at", batch.finished_at);
  time(out, "deadline", spec.deadline);
  if (spec.retention) number(out, "retention_s", spec.retention->count());
  field(out, "metadata", spec.metadata.empty() ? "null" : spec.metadata);
  return out + "}";
}

std::string render_requeued(const std::vector<RequeuedJob>& jobs) {
  std::string out = "{\"jobs\":[";
  for (const RequeuedJob& job : jobs) {
    if (out.back() != '[') out += ',';
    std::string one = "{";
    number(one, "requeued_from", static_cast<int64_t>(job.requeued_from));
    number(one, "id", static_cast<int64_t>(job.id));
    text(one, "mailbox_key", job.mailbox_key);
    field(one, "existed", job.existed ? "true" : "false");
    out += one + "}";
  }
  return out + "]}";
}

}  // namespace parkd
