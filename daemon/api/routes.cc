#include "daemon/api/routes.h"

#include <algorithm>
#include <set>

#include "daemon/api/api.h"

namespace parkd {
namespace {

// Bodies of routes that ask for nothing; some clients send "{}".
constexpr size_t kNoBody = 4 << 10;
// 10,000 ids of 20 digits and their commas, twice over for blanks.
constexpr size_t kRequeueBody = 512 << 10;
// 64 KiB of metadata, name and key, each byte as an escape of six.
constexpr size_t kOpenBatchBody = 512 << 10;
// 1,000 cursors of some 20 bytes.
constexpr size_t kTakeBody = 64 << 10;

// What stands for the variable part in a path.
constexpr std::string_view kPartWords[] = {"ID", "KEY", "NAME"};

constexpr RouteShape gives(std::string_view given, std::string_view taken = {},
                           std::string_view headers = {}, std::string_view statuses = "200") {
  return {given, taken, headers, statuses};
}

struct Pattern {
  std::string_view before;  // the path, up to its variable part
  std::string_view word;    // empty: there is none
  std::string_view after;   // the rest of it
};

Pattern pattern_of(std::string_view path) {
  for (const std::string_view word : kPartWords) {
    const size_t at = path.find(word);
    if (at != path.npos) return {path.substr(0, at), word, path.substr(at + word.size())};
  }
  return {path, {}, {}};
}

// Whether the path is the route's; sets what stands for its variable part.
bool has_path(const Route& route, std::string_view path, std::string_view& part) {
  const Pattern pattern = pattern_of(route.path);
  if (pattern.word.empty()) return path == pattern.before;
  const size_t fixed = pattern.before.size() + pattern.after.size();
  if (path.size() <= fixed) return false;
  if (path.substr(0, pattern.before.size()) != pattern.before) return false;
  if (path.substr(path.size() - pattern.after.size()) != pattern.after) return false;
  part = path.substr(pattern.before.size(), path.size() - fixed);
  return pattern.word != "ID" || part.find('/') == part.npos;
}

}  // namespace

std::span<const Route> routes() {
  using enum RouteThread;
  using enum RouteAccess;
  static constexpr Route kRoutes[] = {
      {"POST", "/v1/jobs", "", blocking, tenant, kMaxRequestBytes, &Api::submit,
       R"(a job, or `{"jobs": [...]}` all or none: 202 with ids and mailbox keys; 400 names the )"
       R"(field; 429 a limit; 503 stopping)",
       gives("SubmittedJobs", "Submission", "", "202")},
      {"GET", "/v1/jobs", "model state batch_id mailbox_key custom_id after limit", quick, tenant,
       kNoBody, &Api::list_jobs,
       "live jobs; goes on with `after=next_after` while `has_more`, also behind a page that is "
       "short or empty",
       gives("Jobs")},
      {"POST", "/v1/jobs/requeue", "", quick, tenant, kRequeueBody, &Api::requeue,
       R"(`{"ids": [...]}`, `{"failed_with": [codes]}`, `{"batch_id": id}` or the last two )"
       R"(together: new jobs from finished ones that did not complete; their messages stay)",
       gives("Requeued", "RequeueRequest", "", "202")},
      {"GET", "/v1/jobs/ID", "", quick, tenant, kNoBody, &Api::get_job,
       "where a job is: scheduled, queued, parked, running, cancelling, or its outcome",
       gives("Job")},
      {"GET", "/v1/jobs/ID/stream", "include_usage", quick, tenant, kNoBody, &Api::stream_job,
       "a job's answer as OpenAI's server-sent events, from its beginning or behind the header "
       "`Last-Event-ID`",
       gives("text/event-stream", "", "Last-Event-ID")},
      {"POST", "/v1/jobs/ID/cancel", "", quick, tenant, kNoBody, &Api::cancel_job,
       "cancelled, cancel_requested, cancelling (a daemon ends it) or already_finished",
       gives("Cancelled", "Empty")},
      {"POST", "/v1/chat/completions", "", blocking, tenant, kMaxRequestBytes, &Api::interactive,
       R"(OpenAI's: a job whose caller waits here for its answer, which may `stream` ("From )"
       R"(OpenAI's client"))",
       gives("ChatCompletion text/event-stream", "ChatBody",
             "Idempotency-Key X-Parkd-On-Disconnect")},
      {"POST", "/v1/completions", "", blocking, tenant, kMaxRequestBytes, &Api::interactive,
       "the same, of one prompt or several",
       gives("Completion text/event-stream", "CompletionBody",
             "Idempotency-Key X-Parkd-On-Disconnect")},
      {"POST", "/v1/responses", "", blocking, tenant, kMaxRequestBytes, &Api::interactive,
       "the same, of what in OpenAI's Responses is one text answer; without `stream`",
       gives("Response", "ResponseBody", "Idempotency-Key X-Parkd-On-Disconnect")},
      {"POST", "/v1/batches", "", quick, tenant, kOpenBatchBody, &Api::open_batch,
       R"(OpenAI's, with `input_file_id`: a batch whose jobs are the lines of a file ("Batches of )"
       R"(files"); without it one that takes jobs: name, metadata, deadline, retention_s, )"
       R"(idempotency_key, each of them optional)",
       gives("Batch", "BatchRequest", "Idempotency-Key", "200 201")},
      {"GET", "/v1/batches", "after limit of", quick, tenant, kNoBody, &Api::list_batches,
       "batches of files, the newest first; `of=jobs`: those that take jobs", gives("Batches")},
      {"GET", "/v1/batches/ID", "", quick, tenant, kNoBody, &Api::get_batch,
       "a batch with its counts: by outcome, and where its other jobs are", gives("Batch")},
      {"POST", "/v1/batches/ID/retry", "", quick, tenant, kOpenBatchBody, &Api::retry_batch,
       "a new batch of what did not complete of a file's: max_tokens, completion_window, metadata, "
       "idempotency_key, each of them optional; 409 while it runs, 410 when it is gone",
       gives("FileBatch", "RetryRequest", "Idempotency-Key")},
      {"POST", "/v1/batches/ID/seal", "", quick, tenant, kNoBody, &Api::seal_batch,
       "it takes no more jobs, and is finished when the last has ended",
       gives("JobBatch", "Empty")},
      {"POST", "/v1/batches/ID/cancel", "", quick, tenant, kNoBody, &Api::cancel_batch,
       "ends its jobs that wait, stops those that run", gives("Batch", "Empty")},
      {"POST", "/v1/files", "", control, tenant, kMaxRequestBytes, &Api::upload_file,
       R"(OpenAI's: a form with `file` (.jsonl) and `purpose` ("batch"), also `expires_after`: the )"
       R"(file, once it is on the disk)",
       gives("File", "FileForm"), RouteBody::file},
      {"GET", "/v1/files", "after limit order purpose", quick, tenant, kNoBody, &Api::list_files,
       "files, the newest first", gives("Files")},
      {"GET", "/v1/files/ID", "", quick, tenant, kNoBody, &Api::get_file, "one of them",
       gives("File")},
      {"GET", "/v1/files/ID/content", "", quick, tenant, kNoBody, &Api::read_file,
       "its bytes; a `Range` of them: 206",
       gives("application/octet-stream", "", "Range", "200 206")},
      {"DELETE", "/v1/files/ID", "", quick, tenant, kNoBody, &Api::delete_file, "deletes it",
       gives("DeletedFile")},
      {"GET", "/v1/mailbox/KEY", "cursor limit wait_s job skip_damaged", control, tenant, kNoBody,
       &Api::read_mailbox,
       "messages in the order they were stored; waits up to 60 s for the first. `job=ID`: the "
       R"(caller waits for this job of its own, which may start of what is kept for such ("Who )"
       R"(starts when"))",
       gives("Messages")},
      {"POST", "/v1/mailbox/KEY/take", "", quick, tenant, kTakeBody, &Api::take_messages,
       R"(`{"limit": n}` or `{"cursors": [...]}`: removes messages and returns them; of two )"
       R"(takers one gets a message)",
       gives("Messages", "TakeRequest")},
      {"GET", "/v1/models", "", quick, tenant, kNoBody, &Api::models,
       "the models: state, memory, load time, context, capacity, device", gives("Models")},
      {"GET", "/v1/models/NAME", "", quick, tenant, kNoBody, &Api::model, "one of them",
       gives("Model")},
      {"GET", "/v1/pool", "", quick, tenant, kNoBody, &Api::pool,
       "what is parked, runs and is charged, by model", gives("Pool")},
      {"GET", "/healthz", "", control, anyone, kNoBody, &Api::healthz, "200: the process answers",
       gives("Health")},
      {"GET", "/readyz", "", quick, known, kNoBody, &Api::ready,
       R"(200: jobs are accepted and kept, else 503; with `notices` ("When things break"))",
       gives("Readiness", "", "", "200 503")},
      {"GET", "/metrics", "", control, known, kNoBody, &Api::metrics, "Prometheus text",
       gives("text/plain")},
      {"GET", "/openapi.json", "", control, anyone, kNoBody, &Api::openapi,
       "this table with the forms of bodies and answers, as OpenAPI 3.1",
       gives("application/json")},
  };
  return kRoutes;
}

std::string Route::name() const {
  return std::string(method) + " " + std::string(path);
}

std::string_view Route::part() const {
  return pattern_of(path).word;
}

std::vector<std::string_view> words_of(std::string_view text) {
  std::vector<std::string_view> words;
  while (!text.empty()) {
    const size_t end = std::min(text.find(' '), text.size());
    words.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return words;
}

RouteMatch match_route(std::string_view method, std::string_view path) {
  RouteMatch match;
  std::set<std::string_view> others;
  bool is_one_of_its_own = false;  // and so no ID
  const std::string_view wanted = method == "HEAD" ? "GET" : method;
  for (const Route& route : routes()) {
    std::string_view part;
    if (!has_path(route, path, part) || (is_one_of_its_own && !part.empty())) continue;
    if (route.method == wanted) return {&route, part, {}};
    is_one_of_its_own |= part.empty();
    others.insert(route.method);
    if (route.method == "GET") others.insert("HEAD");
  }
  for (const std::string_view other : others) {
    match.allow += (match.allow.empty() ? "" : ", ") + std::string(other);
  }
  return match;
}

}  // namespace parkd
