// POST /v1/chat/completions and /v1/completions: a job whose caller waits here for its answer.
#include <boost/asio/post.hpp>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "daemon/api/admission.h"
#include "daemon/api/api.h"
#include "daemon/control/after.h"
#include "lib/base/json_memory.h"
#include "lib/base/json_reader.h"
#include "lib/base/log.h"
#include "lib/base/text.h"
#include "lib/openai/errors.h"
#include "lib/openai/request_options.h"

namespace parkd {
namespace {

// What becomes of a job whose caller goes away.
struct OnDisconnect {
  bool keeps = false;
  std::chrono::seconds grace{0};  // else it is cancelled after so long
};

Result<OnDisconnect> read_on_disconnect(const HttpRequest& request, bool is_stored,
                                        std::chrono::seconds grace) {
  const std::string& word = request.on_disconnect;
  const bool is_named = !request.idempotency_key.empty();
  if (word == "keep") return OnDisconnect{true, {}};
  if (word == "cancel") {
    if (!is_named) return OnDisconnect{false, {}};
    return invalid(
        "X-Parkd-On-Disconnect is cancel, and there is an Idempotency-Key, by which others may "
        "wait for the same job: give one of them");
  }
  if (!word.empty()) {
    return invalid("X-Parkd-On-Disconnect is \"" + shown_name(word) +
                   "\", it must be keep or cancel");
  }
  return OnDisconnect{is_named || is_stored, grace};
}

struct InteractiveRequest {
  JobSpec job;
  OnDisconnect on_disconnect;
};

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
  PARKD_RETURN_IF_ERROR(charged_to(charge)(json_memory_bytes_max(job.body.size())));
  PARKD_ASSIGN_OR_RETURN(const RequestOptions options,
                         read_request_options(job.endpoint, job.body));
  PARKD_ASSIGN_OR_RETURN(read.on_disconnect,
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

// A client of OpenAI's sends a request again by itself after 408, 409, 429 and 5xx. Where its job
// was accepted that would be another one.
HttpReply with_job(HttpReply reply, const SubmittedJob& job) {
  reply.more = {{"X-Parkd-Job-Id", std::to_string(job.id)},
                {"X-Parkd-Mailbox-Key", job.mailbox_key}};
  if (reply.status != 200) reply.more.emplace_back("X-Should-Retry", "false");
  return reply;
}

HttpReply error_of(int status, std::string_view code, const std::string& message,
                   std::string_view param = {}) {
  return {.status = status, .body = render_error(status, code, message, param)};
}

// As OpenAI's: a model is a thing that is not found.
HttpReply refusal_of(const Status& why) {
  return why.error_code() == kModelNotFound ? error_reply(404, why) : error_reply(why);
}

HttpReply answer_of(const JobRecord& record, JobId id) {
  const auto* message = std::get_if<Message>(&record);
  if (message == nullptr) {
    return error_of(410, "gone",
                    "the answer of job " + std::to_string(id) + " was taken, or has expired");
  }
  const Ending& ending = message->ending;
  if (ending.outcome == Outcome::completed) return {.body = ending.body};
  const int status = ending.status_code >= 400 ? ending.status_code : 500;
  return error_of(status, ending.error_code.empty() ? to_string(ending.outcome) : ending.error_code,
                  ending.error_message, ending.error_param);
}

}  // namespace

// One caller of one job: looks where the job is at each message of its key, and answers when it has
// ended; exactly once, or not at all when the caller has gone. Control thread; the store is called,
// and answers are rendered, on quick threads.
class Api::InteractiveWait : public std::enable_shared_from_this<Api::InteractiveWait> {
 public:
  InteractiveWait(Api& api, AskedPtr asked, SubmittedJob job, std::string model,
                  OnDisconnect on_disconnect)
      : api_(api),
        asked_(std::move(asked)),
        job_(std::move(job)),
        model_(std::move(model)),
        on_disconnect_(on_disconnect) {}

  void start() {
    waiter_ = api_.waiters_.add(
        asked_->who().tenant, job_.mailbox_key, api_.parts_.config.daemon.interactive_timeout,
        [self = shared_from_this()](MailboxWaiters::Call call) { self->on_call(call); });
    gives_up_ = api_.drained_;
    asked_->request.peer->when_gone([weak = weak_from_this()] {
      if (const auto self = weak.lock()) self->on_gone();
    });
    if (asked_ != nullptr) look();
  }

 private:
  void look() {
    looking_ = true;
    look_again_ = false;
    quick([self = shared_from_this(), asked = asked_] {
      self->api_.parts_.store.get(
          self->job_.id, asked->who().tenant, [self, asked](Result<JobRecord> record) {
            ApiWork::guarded(asked->reply, [&] {
              const auto held = std::make_shared<Result<JobRecord>>(std::move(record));
              boost::asio::post(self->api_.parts_.io, [self, held] { self->on_record(held); });
            })();
          });
    });
  }

  void on_call(MailboxWaiters::Call call) {
    if (asked_ == nullptr) return;
    if (call == MailboxWaiters::Call::give_up) {
      // A stop lets what runs end: its callers wait for that.
      if (api_.stopping_ && !api_.drained_) return;
      gives_up_ = true;
    }
    if (looking_) {
      look_again_ = true;
    } else {
      look();
    }
  }

  void on_record(const std::shared_ptr<Result<JobRecord>>& record) {
    looking_ = false;
    if (asked_ == nullptr) return;
    const bool is_live = record->ok() && std::holds_alternative<Job>(**record);
    if (is_live && !gives_up_) {
      if (!std::exchange(is_awaited_, true)) {
        api_.parts_.dispatcher.caller_waits(model_, job_.id, true);
      }
      if (look_again_) look();
      return;
    }
    quick([record, asked = asked_, job = job_, is_live, stopping = api_.stopping_] {
      if (!record->ok()) return asked->reply(with_job(error_reply(record->status()), job));
      if (!is_live) return asked->reply(with_job(answer_of(**record, job.id), job));
      asked->reply(with_job(not_yet(job, stopping), job));
    });
    end();
  }

  static HttpReply not_yet(const SubmittedJob& job, bool stopping) {
    const std::string goes_on = "job " + std::to_string(job.id) +
                                " goes on, its answer comes into the mailbox under " +
                                job.mailbox_key;
    if (stopping) return error_of(503, "unavailable", "parkd is stopping: " + goes_on);
    return error_of(504, "timeout",
                    "there is no answer within daemon.interactive_timeout_s: " + goes_on);
  }

  void on_gone() {
    if (asked_ == nullptr) return;
    if (!on_disconnect_.keeps) {
      after(
          api_.parts_.io, on_disconnect_.grace,
          [api = &api_, id = job_.id, tenant = asked_->who().tenant] {
            api->parts_.store.cancel(id, tenant, [id](const Result<CancelAnswer>& answer) {
              if (!answer.ok()) {
                log_warn("job.not_cancelled", {{"id", id}, {"error", answer.status().to_string()}});
              }
            });
          });
    }
    end();
  }

  void quick(std::function<void()> task) {
    api_.work_.quick(asked_->who(), asked_->reply, std::move(task));
  }

  // Lets go of the request.
  void end() {
    if (is_awaited_) api_.parts_.dispatcher.caller_waits(model_, job_.id, false);
    api_.waiters_.remove(waiter_);
    waiter_.reset();
    asked_.reset();
  }

  Api& api_;
  AskedPtr asked_;  // null once it ended
  const SubmittedJob job_;
  const std::string model_;
  const OnDisconnect on_disconnect_;
  MailboxWaiters::Handle waiter_;
  bool is_awaited_ = false;  // the dispatcher was told so: the job was live
  bool looking_ = false;
  bool look_again_ = false;
  bool gives_up_ = false;
};

void Api::interactive(const AskedPtr& asked) {
  const HttpReplier& reply = asked->reply;
  if (const Status may = may_submit(parts_.config, *asked); !may.ok()) {
    return reply(error_reply(may));
  }
  auto read = read_request({parts_.config, asked->models, asked->who()}, asked->request);
  if (!read.ok()) return reply(refusal_of(read.status()));
  const std::string model = read->job.model;
  const OnDisconnect on_disconnect = read->on_disconnect;
  std::vector<JobSpec> jobs;
  jobs.push_back(std::move(read->job));
  parts_.store.submit(std::move(jobs), [this, asked, model, on_disconnect](
                                           Result<std::vector<SubmittedJob>> submitted) {
    ApiWork::guarded(asked->reply, [&] {
      if (!submitted.ok()) {
        HttpReply refused = error_reply(without_index(submitted.status()));
        // The key stands for another request.
        if (refused.status == 409) refused.status = 422;
        return asked->reply(std::move(refused));
      }
      boost::asio::post(
          parts_.io, [this, asked, model, on_disconnect, job = std::move(submitted->front())] {
            std::make_shared<InteractiveWait>(*this, asked, job, model, on_disconnect)->start();
          });
    })();
  });
}

}  // namespace parkd
