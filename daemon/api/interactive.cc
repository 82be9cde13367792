// POST /v1/chat/completions, /v1/completions and /v1/responses: a job whose caller waits here for
// its answer, which comes as a whole or (but for the last) as it is written. GET
// /v1/jobs/ID/stream: the latter, of a job that is there.
#include <boost/asio/post.hpp>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "daemon/api/admission.h"
#include "daemon/api/api.h"
#include "daemon/api/interactive_wait.h"
#include "daemon/models/job_check.h"
#include "lib/base/json_memory.h"
#include "lib/base/json_reader.h"
#include "lib/base/text.h"
#include "lib/job/endpoints.h"
#include "lib/openai/errors.h"
#include "lib/openai/request_options.h"
#include "lib/openai/stored_answer.h"
#include "lib/openai/stream_request.h"
#include "lib/store/client_store.h"

namespace parkd {
namespace {

Result<CallerGrace> read_on_disconnect(const HttpRequest& request, bool is_stored,
                                       std::chrono::seconds grace) {
  const std::string& word = request.on_disconnect;
  const bool is_named = !request.idempotency_key.empty();
  if (word == "keep") return CallerGrace();
  if (word == "cancel") {
    if (!is_named) return CallerGrace(0);
    return invalid(
        "X-Parkd-On-Disconnect is cancel, and there is an Idempotency-Key, by which others may "
        "wait for the same job: give one of them");
  }
  if (!word.empty()) {
    return invalid("X-Parkd-On-Disconnect is \"" + shown_name(word) +
                   "\", it must be keep or cancel");
  }
  return is_named || is_stored ? CallerGrace() : CallerGrace(grace);
}

struct InteractiveRequest {
  JobSpec job;
  CallerGrace grace;
  StreamRequest stream;
};

bool streams(const std::string& path) {
  const EndpointPath* endpoint = find_endpoint(path);
  return endpoint != nullptr && endpoint->streams;
}

// The job of the body; keeps nothing charged.
Result<InteractiveRequest> read_request(const SubmitCheck& check, const HttpRequest& request) {
  const DaemonConfig& daemon = check.config.daemon;
  const std::shared_ptr<ByteBudget::Charge> charge = request.body->charge();
  InteractiveRequest read;
  JobSpec& job = read.job;
  job.endpoint = request.path;
  job.body = request.body->take();
  if (job.body.size() > static_cast<size_t>(daemon.max_body_bytes)) {
    return invalid("the body has " + std::to_string(job.body.size()) +
                   " bytes, the limit is daemon.max_body_bytes, " +
                   std::to_string(daemon.max_body_bytes));
  }
  if (streams(job.endpoint)) {
    PARKD_ASSIGN_OR_RETURN(read.stream, take_stream_request(job.body, charged_to(charge)));
  }
  PARKD_RETURN_IF_ERROR(charged_to(charge)(json_memory_bytes_max(job.body.size())));
  PARKD_ASSIGN_OR_RETURN(const RequestOptions options,
                         read_request_options(job.endpoint, job.body));
  PARKD_ASSIGN_OR_RETURN(read.grace,
                         read_on_disconnect(request, options.store, daemon.stream_grace));
  if (request.idempotency_key.size() > kTextBytesMax) {
    return invalid("Idempotency-Key has " + std::to_string(request.idempotency_key.size()) +
                   " bytes, the limit is " + std::to_string(kTextBytesMax));
  }
  job.tenant = check.who.tenant;
  job.model = options.model;
  job.priority = Priority::high;
  job.idempotency_key = request.idempotency_key;
  job.run_timeout = daemon.interactive_run_timeout;
  PARKD_RETURN_IF_ERROR(check_job(check, job));
  charge->shrink_to(0);
  return read;
}

// Why there is no stream of that job; ok: there is one.
Status has_stream(const JobRecord& record) {
  const auto* live = std::get_if<Job>(&record);
  const auto* message = std::get_if<Message>(&record);
  const bool has = (live == nullptr || streams(live->spec.endpoint)) &&
                   (message == nullptr || is_streamed_answer(message->ending.body));
  return has ? Status() : invalid_param("id", unstreamed_endpoint(path_of(Endpoint::responses)));
}

// Nothing: it is not a job that can be waited for, nor its message.
std::optional<AwaitedJob> awaited_job(const JobRecord& record, JobId id) {
  AwaitedJob job;
  job.job.id = id;
  if (const auto* live = std::get_if<Job>(&record)) {
    job.job.mailbox_key = live->spec.mailbox_key;
    job.tenant = live->spec.tenant;
    job.model = live->spec.model;
  } else if (const auto* message = std::get_if<Message>(&record)) {
    job.job.mailbox_key = message->mailbox_key;
    job.tenant = message->tenant;
  } else {
    return std::nullopt;
  }
  return job;
}

HttpReply not_awaited(const JobRecord& record, JobId id) {
  return std::holds_alternative<std::monostate>(record) ? error_reply(no_such_job(id))
                                                        : answer_of(record, id);
}

// As OpenAI's: a model is a thing that is not found.
HttpReply refusal_of(const Status& why) {
  return why.error_code() == kModelNotFound ? error_reply(404, why) : error_reply(why);
}

}  // namespace

void Api::interactive(const AskedPtr& asked) {
  const HttpReplier& reply = asked->reply;
  if (const Status may = may_submit(parts_.config, *asked); !may.ok()) {
    return reply(error_reply(may));
  }
  auto read = read_request({parts_.config, asked->models, asked->who()}, asked->request);
  if (!read.ok()) return reply(refusal_of(read.status()));
  const std::string model = read->job.model;
  const CallerGrace grace = read->grace;
  const StreamRequest stream = read->stream;
  Completion<SubmittedJob> submitted = [this, asked, model, grace,
                                        stream](Result<SubmittedJob> job) {
    ApiWork::guarded(asked->reply, [&] {
      if (!job.ok()) {
        HttpReply refused = error_reply(without_index(job.status()));
        // The key stands for another request.
        if (refused.status == 409) refused.status = 422;
        return asked->reply(std::move(refused));
      }
      boost::asio::post(parts_.io,
                        [this, asked, model, grace, stream, job = std::move(job).value()] {
                          InteractiveWait::begin(*this, asked, {job, asked->who().tenant, model},
                                                 Caller{.grace = grace}, stream);
                        });
    })();
  };
  parts_.dispatcher.submit_here(
      std::move(read->job), submitted, [this, asked, submitted](JobSpec job) {
        ApiWork::guarded(asked->reply, [&] {
          std::vector<JobSpec> jobs;
          jobs.push_back(std::move(job));
          parts_.store.submit(std::move(jobs), [submitted](Result<std::vector<SubmittedJob>> all) {
            if (!all.ok()) return submitted(all.status());
            submitted(std::move(all->front()));
          });
        })();
      });
}

// Who comes to a job by its id is one of its callers as the first was.
void Api::stream_job(const AskedPtr& asked) {
  const auto id = read_job_id(asked->part);
  if (!id.ok()) return asked->reply(error_reply(id.status()));
  const auto include_usage = query_number(asked->request, "include_usage", 0, 0, 1);
  if (!include_usage.ok()) return asked->reply(error_reply(include_usage.status()));
  const StreamRequest stream{true, *include_usage == 1};
  parts_.store.get(
      *id, asked->who().any_or_own(),
      on_quick<JobRecord>(asked, [this, asked, id = *id, stream](const Result<JobRecord>& record) {
        if (!record.ok()) return asked->reply(error_reply(record.status()));
        if (const Status has = has_stream(*record); !has.ok()) {
          return asked->reply(error_reply(has));
        }
        const auto job = awaited_job(*record, id);
        if (!job) return asked->reply(not_awaited(*record, id));
        if (asked->request.is_head) return asked->reply(stream_head(job->job));
        const Caller caller{.grace = {}, .by_id = std::holds_alternative<Job>(*record)};
        boost::asio::post(parts_.io, [this, asked, job = *job, caller, stream] {
          InteractiveWait::begin(*this, asked, job, caller, stream);
        });
      }));
}

}  // namespace parkd
