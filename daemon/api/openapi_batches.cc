#include "daemon/api/openapi_parts.h"
#include "lib/job/bounds.h"

namespace parkd::schema {
namespace {

Schema file_batch() {
  const auto at = [] { return or_null(unix_time()); };
  const Schema fault = answer({{"code", text()},
                               {"line", or_null(whole(1))},
                               {"message", text()},
                               {"param", or_null(text())}});
  const Schema counts =
      answer({{"total", whole(0)}, {"completed", whole(0)}, {"failed", whole(0)}});
  const Schema usage = answer({{"input_tokens", whole(0)},
                               {"input_tokens_details", answer({{"cached_tokens", whole(0)}})},
                               {"output_tokens", whole(0)},
                               {"output_tokens_details", answer({{"reasoning_tokens", whole(0)}})},
                               {"total_tokens", whole(0)}});
  const Schema webhook = answer({{"url", text()},
                                 {"status", one_of_words({"pending", "delivered", "given_up"})},
                                 {"attempts", whole(0)},
                                 {"next_attempt_at", at()},
                                 {"delivered_at", at()},
                                 {"last_error", or_null(text())}});
  return answer(
      {{"id", text()},
       {"object", one_of_words({"batch"})},
       {"endpoint", text()},
       {"model", or_null(text())},
       {"errors", or_null(answer({{"object", one_of_words({"list"})}, {"data", list_of(fault)}}))},
       {"input_file_id", text()},
       {"completion_window", text()},
       {"status", one_of_words({"validating", "failed", "in_progress", "finalizing", "completed",
                                "expired", "cancelling", "cancelled"})},
       {"output_file_id", or_null(text())},
       {"error_file_id", or_null(text())},
       {"created_at", unix_time()},
       {"in_progress_at", at()},
       {"expires_at", at()},
       {"finalizing_at", at()},
       {"completed_at", at()},
       {"failed_at", at()},
       {"expired_at", at()},
       {"cancelling_at", at()},
       {"cancelled_at", at()},
       {"output_expires_at", at()},
       {"request_counts", counts},
       {"usage", or_null(usage)},
       {"metadata", or_null(any_object())},
       {"tenant", text()},
       {"retried_from", or_null(text())},
       {"webhook", or_null(webhook)}});
}

Schema job_batch() {
  const auto at = [] { return or_null(time()); };
  return answer({{"id", text()},
                 {"name", or_null(text())},
                 {"tenant", text()},
                 {"status", text()},
                 {"total", whole(0)},
                 {"completed", whole(0)},
                 {"failed", whole(0)},
                 {"cancelled", whole(0)},
                 {"deadline_missed", whole(0)},
                 {"quarantined", whole(0)},
                 {"truncated", whole(0)},
                 {"unfinished", whole(0)},
                 {"created_at", at()},
                 {"sealed_at", at()},
                 {"cancel_at", at()},
                 {"finished_at", at()},
                 {"deadline", at()},
                 {"metadata", or_null(any_object())}},
                {{"scheduled", whole(0)},
                 {"queued", whole(0)},
                 {"claimed", whole(0)},
                 {"cancelling", whole(0)},
                 {"retention_s", whole(1)}});
}

Schema window() {
  return text_like("^[1-9][0-9]{0,2}h$");
}

}  // namespace

void add_batches(Schema& all) {
  const Schema of_a_file = request(
      {{"input_file_id", text()}, {"endpoint", endpoint_path()}, {"completion_window", window()}},
      {{"metadata", pairs()},
       {"output_expires_after", file_life()},
       {"webhook_url", text_of_at_most(kWebhookUrlBytesMax)},
       {"idempotency_key", key_text()}});
  const Schema of_jobs =
      request({}, {{"name", text_of_at_most(kBatchNameBytesMax)},
                   {"metadata", any_object()},
                   {"deadline", time()},
                   {"retention_s", whole(kRetentionMin.count(), kRetentionMax.count())},
                   {"idempotency_key", key_text()}});
  all["BatchRequest"] = any_of({of_a_file, of_jobs});
  all["RetryRequest"] = request({}, {{"max_tokens", whole(1, INT32_MAX)},
                                     {"completion_window", window()},
                                     {"webhook_url", text_of_at_most(kWebhookUrlBytesMax)},
                                     {"metadata", pairs()},
                                     {"idempotency_key", key_text()}});
  all["FileBatch"] = file_batch();
  all["JobBatch"] = job_batch();
  all["Batch"] = any_of({ref("FileBatch"), ref("JobBatch")});
  all["Batches"] = page_of("Batch");
  all["File"] = answer({{"id", text()},
                        {"object", one_of_words({"file"})},
                        {"bytes", whole(0)},
                        {"created_at", unix_time()},
                        {"expires_at", unix_time()},
                        {"filename", text()},
                        {"purpose", text()},
                        {"status", text()}});
  all["Files"] = page_of("File");
  all["DeletedFile"] =
      answer({{"id", text()}, {"object", one_of_words({"file"})}, {"deleted", {{"const", true}}}});
  all["FileForm"] = {
      {"type", "object"},
      {"required", {"file", "purpose"}},
      {"properties",
       {{"file", {{"type", "string"}, {"format", "binary"}}},
        {"purpose", one_of_words({"batch"})},
        {"expires_after[anchor]", one_of_words({"created_at"})},
        {"expires_after[seconds]", whole(kFileLifeMin.count(), kFileLifeMax.count())}}},
      {"additionalProperties", false}};
}

}  // namespace parkd::schema
