#include "daemon/api/interactive_wait.h"

#include <boost/asio/post.hpp>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "daemon/control/after.h"
#include "lib/base/log.h"
#include "lib/endpoint/model_endpoint.h"
#include "lib/openai/errors.h"

namespace parkd {
namespace {

constexpr auto kModelLookEvery = std::chrono::milliseconds(200);
constexpr auto kStoreLookEvery = std::chrono::seconds(1);

// A client of OpenAI's sends a request again by itself after 408, 409, 429 and 5xx. Where its job
// was accepted that would be another one.
HttpReply with_job(HttpReply reply, const SubmittedJob& job) {
  reply.more.emplace_back("X-Parkd-Job-Id", std::to_string(job.id));
  reply.more.emplace_back("X-Parkd-Mailbox-Key", job.mailbox_key);
  if (reply.status != 200) reply.more.emplace_back("X-Should-Retry", "false");
  return reply;
}

HttpReply error_of(int status, std::string_view code, const std::string& message,
                   std::string_view param = {}) {
  return {.status = status, .body = render_error(status, code, message, param)};
}

HttpReply not_yet(const SubmittedJob& job, bool stopping) {
  const std::string goes_on = "job " + std::to_string(job.id) +
                              " goes on, its answer comes into the mailbox under " +
                              job.mailbox_key;
  if (stopping) return error_of(503, "unavailable", "parkd is stopping: " + goes_on);
  return error_of(504, "timeout",
                  "there is no answer within daemon.interactive_timeout_s: " + goes_on);
}

// Nothing where there is no memory for it: the stream is cut, and its client can come again.
std::optional<std::string> rendered_end(StreamedAnswer& stream, const HttpReply& reply) {
  try {
    return stream.render_end(reply);
  } catch (const std::bad_alloc&) {
    log_error("api.out_of_memory", {{"at", "stream"}});
    return std::nullopt;
  }
}

}  // namespace

HttpReply stream_head(const SubmittedJob& job) {
  return with_job(StreamedAnswer::head(), job);
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

void Api::InteractiveWait::begin(Api& api, AskedPtr asked, AwaitedJob job, Caller caller,
                                 const StreamRequest& stream) {
  caller.streams = stream.stream;
  std::make_shared<InteractiveWait>(api, std::move(asked), std::move(job), caller, stream)->start();
}

Api::InteractiveWait::InteractiveWait(Api& api, AskedPtr asked, AwaitedJob job, Caller caller,
                                      const StreamRequest& stream)
    : api_(api), asked_(std::move(asked)), job_(std::move(job)), caller_(caller) {
  if (!stream.stream) return;
  stream_ = std::make_shared<StreamedAnswer>(
      api_.parts_.io, api_.parts_.tokens,
      StreamedAnswer::Options{job_.job.id, stream.include_usage, asked_->request.last_event_id});
}

void Api::InteractiveWait::start() {
  api_.callers_.came(job_.job.id, caller_);
  waiter_ = api_.waiters_.add(
      job_.tenant, job_.job.mailbox_key, api_.parts_.config.daemon.interactive_timeout,
      [self = shared_from_this()](MailboxWaiters::Call call) { self->on_call(call); });
  gives_up_ = api_.drained_;
  asked_->request.peer->when_gone([weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->on_gone();
  });
  if (asked_ == nullptr) return;
  if (stream_ != nullptr) asked_->reply(with_job(stream_->reply(), job_.job));
  look();
}

void Api::InteractiveWait::look() {
  looking_ = true;
  look_again_ = false;
  quick([self = shared_from_this(), asked = asked_] {
    self->api_.parts_.store.get(
        self->job_.job.id, self->job_.tenant, [self, asked](Result<JobRecord> record) {
          ApiWork::guarded(asked->reply, [&] {
            const auto held = std::make_shared<Result<JobRecord>>(std::move(record));
            boost::asio::post(self->api_.parts_.io, [self, held] { self->on_record(held); });
          })();
        });
  });
}

void Api::InteractiveWait::on_call(MailboxWaiters::Call call) {
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

void Api::InteractiveWait::on_record(const Record& record) {
  looking_ = false;
  if (asked_ == nullptr || is_answered_) return;
  // A database that restarts, say, knows nothing now, and everything later: the job goes on.
  if (!record->ok() && record->status().code() == StatusCode::unavailable && !gives_up_) {
    return look_later();
  }
  const bool is_live = record->ok() && std::holds_alternative<Job>(**record);
  if (!is_live || gives_up_) return answer(record, is_live);
  if (!std::exchange(is_awaited_, true)) {
    api_.parts_.dispatcher.caller_waits(job_.model, job_.job.id, true);
  }
  follow(record);
  if (look_again_) look();
}

void Api::InteractiveWait::look_later() {
  after(api_.parts_.io, kStoreLookEvery, [weak = weak_from_this()] {
    const auto self = weak.lock();
    if (self != nullptr && self->asked_ != nullptr && !self->looking_) self->look();
  });
}

// Of a live job: that it goes on.
void Api::InteractiveWait::answer(const Record& record, bool is_live) {
  is_answered_ = true;
  if (!is_live) return send(record, false);
  api_.callers_.keep(job_.job.id,
                     [self = shared_from_this(), record] { self->send(record, true); });
}

void Api::InteractiveWait::send(const Record& record, bool is_live) {
  if (asked_ == nullptr) return;  // gone meanwhile
  if (stream_ != nullptr) stream_->begin_end();
  quick([record, asked = asked_, stream = stream_, job = job_.job, is_live,
         stopping = api_.stopping_, &io = api_.parts_.io] {
    HttpReply reply;
    if (!record->ok()) {
      reply = error_reply(record->status());
    } else {
      reply = is_live ? not_yet(job, stopping) : answer_of(**record, job.id);
    }
    if (stream == nullptr) return asked->reply(with_job(std::move(reply), job));
    boost::asio::post(io, [stream, rest = rendered_end(*stream, reply)]() mutable {
      if (!rest) return stream->cut();
      stream->finish(std::move(*rest));
    });
  });
  api_.callers_.answered(job_.job.id, caller_.streams);
  end();
}

// Has the tokens of the live job sent as they come, once its model is known well enough to show
// them.
void Api::InteractiveWait::follow(const Record& record) {
  if (stream_ == nullptr || std::exchange(is_following_, true)) return;
  try_to_follow(record);
}

void Api::InteractiveWait::try_to_follow(const Record& record) {
  if (asked_ == nullptr) return;
  const auto entry = api_.models_->find(job_.model);
  if (entry == api_.models_->end()) return;  // it runs elsewhere
  const std::shared_ptr<const ModelEndpoint> model = entry->second.endpoint;
  if (model == nullptr) {
    return after(api_.parts_.io, kModelLookEvery, [weak = weak_from_this(), record] {
      if (const auto self = weak.lock()) self->try_to_follow(record);
    });
  }
  quick([record, model, stream = stream_, &io = api_.parts_.io] {
    auto plan = ModelEndpoint::plan_stream(model, std::get<Job>(**record));
    if (!plan.ok()) {  // it was admitted, so it was read; the answer comes whole, at its end
      return log_warn("stream.not_followed",
                      {{"id", std::get<Job>(**record).id}, {"error", plan.status().to_string()}});
    }
    const auto held = std::make_shared<AnswerStreamPlan>(std::move(plan).value());
    boost::asio::post(io, [record, model, stream, held] {
      stream->follow(std::get<Job>(**record), std::move(*held),
                     model->options().system_fingerprint);
    });
  });
}

void Api::InteractiveWait::on_gone() {
  if (asked_ == nullptr) return;
  api_.callers_.gone(job_.job.id, job_.tenant, caller_.streams);
  if (stream_ != nullptr) stream_->cut();
  end();
}

void Api::InteractiveWait::quick(std::function<void()> task) {
  api_.work_.quick(asked_->who(), asked_->reply, std::move(task));
}

// Lets go of the request.
void Api::InteractiveWait::end() {
  if (is_awaited_) api_.parts_.dispatcher.caller_waits(job_.model, job_.job.id, false);
  api_.waiters_.remove(waiter_);
  waiter_.reset();
  asked_.reset();
}

}  // namespace parkd
