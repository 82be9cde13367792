#include "daemon/api/openapi_parts.h"
#include "lib/job/bounds.h"

namespace parkd::schema {
namespace {

Schema job_request() {
  return request({{"body", any_of({ref("ChatBody"), ref("CompletionBody"), ref("ResponseBody")})}},
                 {{"model", key_text()},
                  {"tenant", key_text()},
                  {"mailbox_key", key_text()},
                  {"custom_id", key_text()},
                  {"batch_id", key_text()},
                  {"idempotency_key", key_text()},
                  {"endpoint", endpoint_path()},
                  {"url", endpoint_path()},
                  {"method", one_of_words({"POST"})},
                  {"priority", one_of_words({"critical", "high", "normal", "low"})},
                  {"metadata", {{"type", "object"}, {"maxProperties", kMetadataPairsMax}}},
                  {"run_at", time()},
                  {"deadline", time()},
                  {"run_timeout_s", whole(kRunTimeoutMin.count(), kRunTimeoutMax.count())},
                  {"retention_s", whole(kRetentionMin.count(), kRetentionMax.count())},
                  {"max_attempts", whole(1, kAttemptsMax)}});
}

Schema submitted() {
  return answer(
      {{"id", whole(1)}, {"mailbox_key", text()}, {"existed", boolean()}, {"finished", boolean()}});
}

Schema live_job() {
  return answer({{"id", whole(1)},
                 {"state", text()},
                 {"waits_for", or_null(text())},
                 {"custom_id", or_null(text())},
                 {"mailbox_key", text()},
                 {"batch_id", or_null(text())},
                 {"tenant", text()},
                 {"model", text()},
                 {"endpoint", text()},
                 {"priority", text()},
                 {"prompt_tokens", whole(0)},
                 {"max_new_tokens", whole(0)},
                 {"attempts", whole(0)},
                 {"metadata", or_null(any_object())},
                 {"created_at", time()},
                 {"run_at", or_null(time())},
                 {"deadline", or_null(time())}},
                {{"units", whole(0)}});
}

// What every end of a job has, its message taken or not.
Schema message() {
  return answer(
      {{"id", whole(1)},
       {"custom_id", or_null(text())},
       {"mailbox_key", text()},
       {"batch_id", or_null(text())},
       {"tenant", text()},
       {"model", text()},
       {"outcome", ref("Outcome")},
       {"response",
        or_null(answer(
            {{"status_code", whole(100, 599)}, {"request_id", text()}, {"body", any_object()}}))},
       {"error",
        or_null(answer({{"code", text()}, {"message", text()}, {"param", or_null(text())}}))},
       {"prompt_tokens", whole(0)},
       {"completion_tokens", whole(0)},
       {"units", whole(0)},
       {"queue_ms", whole(0)},
       {"run_ms", whole(0)},
       {"attempts", whole(0)},
       {"metadata", or_null(any_object())},
       {"created_at", time()},
       {"finished_at", time()},
       {"expires_at", time()},
       {"cursor", text_like("^c[0-9a-f]{16}$")}});
}

Schema history() {
  return answer({{"id", whole(1)},
                 {"custom_id", or_null(text())},
                 {"tenant", text()},
                 {"model", text()},
                 {"outcome", ref("Outcome")},
                 {"error_code", or_null(text())},
                 {"prompt_tokens", whole(0)},
                 {"completion_tokens", whole(0)},
                 {"created_at", time()},
                 {"finished_at", time()},
                 {"message", text()}});
}

}  // namespace

void add_jobs(Schema& all) {
  all["Outcome"] =
      one_of_words({"completed", "failed", "cancelled", "deadline_missed", "quarantined"});
  all["JobRequest"] = job_request();
  all["Submission"] = any_of(
      {ref("JobRequest"), request({{"jobs", list_of(ref("JobRequest"), 1, kSubmitJobsMax)}}, {})});
  all["Submitted"] = submitted();
  all["SubmittedJobs"] = any_of({ref("Submitted"), answer({{"jobs", list_of(ref("Submitted"))}})});
  all["LiveJob"] = live_job();
  all["Message"] = message();
  all["FinishedJob"] = history();
  all["Job"] = any_of({ref("LiveJob"), ref("Message"), ref("FinishedJob")});
  all["Jobs"] = answer(
      {{"jobs", list_of(ref("LiveJob"))}, {"next_after", whole(0)}, {"has_more", boolean()}});
  all["Cancelled"] =
      answer({{"id", whole(1)},
              {"cancel",
               one_of_words({"cancelled", "cancel_requested", "cancelling", "already_finished"})}});
  all["RequeueRequest"] =
      request({}, {{"ids", list_of(whole(0), 1, kRequeueIdsMax)},
                   {"failed_with", any_of({text(), list_of(text(), 1, kRequeueCodesMax)})},
                   {"batch_id", text()},
                   {"model", text()},
                   {"limit", whole(1, kRequeueIdsMax)}});
  all["Requeued"] = answer({{"jobs", list_of(answer({{"requeued_from", whole(1)},
                                                     {"id", whole(1)},
                                                     {"mailbox_key", or_null(text())},
                                                     {"existed", boolean()}}))}});
  all["Messages"] = answer(
      {{"messages", list_of(ref("Message"))}},
      {{"next_cursor", text()}, {"damaged", answer({{"after", text()}, {"through", text()}})}});
  all["TakeRequest"] =
      request({}, {{"limit", whole(1, kMessagesMax)},
                   {"cursors", list_of(text_like("^c[0-9a-f]{16}$"), 1, size_t{kMessagesMax})}});
}

}  // namespace parkd::schema
