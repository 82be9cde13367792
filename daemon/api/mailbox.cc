// /v1/mailbox/KEY: read with a cursor, wait for the next message, take.
#include <boost/asio/post.hpp>
#include <boost/json.hpp>
#include <memory>
#include <optional>
#include <utility>

#include "daemon/api/api.h"
#include "lib/base/json_reader.h"
#include "lib/base/text.h"
#include "lib/openai/wire.h"
#include "lib/store/client_store.h"

namespace parkd {
namespace {

constexpr int64_t kPageBytesMax = 32 << 20;  // of the messages of one answer
constexpr size_t kDepthMax = 8;              // of a request's JSON

DamagedCursors cursors_of(const std::optional<DamagedRange>& damaged) {
  if (!damaged) return std::nullopt;
  return std::pair(damaged->after, damaged->through);
}

struct Take {
  int32_t limit = 0;                // the oldest so many, when no message is named
  std::vector<uint64_t> sequences;  // the named ones
};

Result<Take> parse_take(const std::string& body) {
  Take take;
  JsonMemory memory(body.size());
  PARKD_ASSIGN_OR_RETURN(const boost::json::value parsed,
                         read_json(body.empty() ? "{}" : body, "the request", kDepthMax, memory));
  if (!parsed.is_object()) return invalid("the request must be a JSON object");
  take.limit = 100;
  for (const auto& field : parsed.get_object()) {
    if (const auto given = whole_number(field.value()); given && field.key() == "limit") {
      const int64_t limit = *given;
      if (limit < 1 || limit > kMessagesMax) {
        return invalid_param("limit", "limit is " + std::to_string(limit) +
                                          ", it must be from 1 to " + std::to_string(kMessagesMax));
      }
      take.limit = static_cast<int32_t>(limit);
    } else if (field.key() == "cursors" && field.value().is_array()) {
      for (const auto& cursor : field.value().get_array()) {
        const auto sequence =
            cursor.is_string() ? parse_cursor(std::string_view(cursor.get_string())) : std::nullopt;
        if (!sequence) return invalid_param("cursors", "cursors must hold messages' cursors");
        take.sequences.push_back(*sequence);
      }
      if (take.sequences.empty() || take.sequences.size() > size_t{kMessagesMax}) {
        return invalid_param("cursors", "cursors has " + std::to_string(take.sequences.size()) +
                                            " entries, it must have from 1 to " +
                                            std::to_string(kMessagesMax));
      }
    } else {
      return invalid_param(shown_name({field.key().data(), field.key().size()}),
                           "take has limit (a number) or cursors (a list)");
    }
  }
  return take;
}

}  // namespace

// One reader of one key: reads, and where nothing is there and it may wait, reads again at each
// wake-up. Answers exactly once, or not at all when its client has gone. Control thread; the store
// is called, and pages are rendered, on quick threads.
class Api::MailboxRead : public std::enable_shared_from_this<Api::MailboxRead> {
 public:
  // `job`: what its caller waits for; 0: whatever comes.
  MailboxRead(Api& api, AskedPtr asked, FetchRequest request, JobId job)
      : api_(api), asked_(std::move(asked)), request_(std::move(request)), job_(job) {}

  void start(std::chrono::seconds wait) {
    if (wait.count() > 0) {
      waiter_ = api_.waiters_.add(
          request_.tenant, request_.mailbox_key, wait,
          [self = shared_from_this()](MailboxWaiters::Call call) { self->on_call(call); });
      asked_->request.peer->when_gone([weak = weak_from_this()] {
        if (const auto self = weak.lock()) self->end();
      });
    }
    if (asked_ != nullptr) read();
  }

 private:
  using Page = std::shared_ptr<Result<FetchAnswer>>;  // moved between threads, never copied

  void read() {
    reading_ = true;
    read_again_ = false;
    quick([self = shared_from_this(), asked = asked_] {
      self->api_.parts_.store.fetch(self->request_, [self, asked](Result<FetchAnswer> page) {
        ApiWork::guarded(asked->reply, [&] {
          const auto held = std::make_shared<Result<FetchAnswer>>(std::move(page));
          boost::asio::post(self->api_.parts_.io, [self, held] { self->on_page(held); });
        })();
      });
    });
  }

  void on_call(MailboxWaiters::Call call) {
    if (call == MailboxWaiters::Call::give_up) may_wait_ = false;
    if (asked_ == nullptr) return;
    if (reading_) {
      read_again_ = true;
    } else {
      read();
    }
  }

  void on_page(const Page& page) {
    reading_ = false;
    if (asked_ == nullptr) return;
    const bool wait = page->ok() && waiter_ != nullptr && may_wait_ && (*page)->messages.empty() &&
                      !(*page)->damaged;
    if (wait) {
      look_for_job();
      if (read_again_) read();
      return;
    }
    quick([page, asked = asked_] { answer_page(*asked, *page); });
    end();
  }

  static void answer_page(const Asked& asked, Result<FetchAnswer>& page) {
    if (!page.ok()) return asked.reply(error_reply(page.status()));
    asked.reply(
        {.body = render_page(page->messages, page->next_sequence, cursors_of(page->damaged))});
  }

  void quick(std::function<void()> task) {
    api_.work_.quick(asked_->who(), asked_->reply, std::move(task));
  }

  // The dispatcher is told once, when the job is known to be live, the caller's, and to answer
  // here.
  void look_for_job() {
    if (job_ == 0 || std::exchange(looked_for_job_, true)) return;
    quick([self = shared_from_this(), asked = asked_] {
      self->api_.parts_.store.get(
          self->job_, self->request_.tenant, [self, asked](Result<JobRecord> record) {
            ApiWork::guarded(asked->reply, [&] {
              const Job* job = record.ok() ? std::get_if<Job>(&*record) : nullptr;
              if (job == nullptr || job->spec.mailbox_key != self->request_.mailbox_key) return;
              boost::asio::post(self->api_.parts_.io,
                                [self, model = job->spec.model] { self->on_job(model); });
            })();
          });
    });
  }

  void on_job(const std::string& model) {
    if (asked_ == nullptr) return;
    model_ = model;
    api_.parts_.dispatcher.caller_waits(*model_, job_, true);
  }

  // Lets go of the request: the answer keeps a part of it.
  void end() {
    if (model_) api_.parts_.dispatcher.caller_waits(*model_, job_, false);
    model_.reset();
    if (waiter_ != nullptr) api_.waiters_.remove(waiter_);
    waiter_.reset();
    asked_.reset();
  }

  Api& api_;
  AskedPtr asked_;  // null once it ended
  const FetchRequest request_;
  const JobId job_;
  bool looked_for_job_ = false;
  std::optional<std::string> model_;  // of the job, once the dispatcher knows that it is awaited
  MailboxWaiters::Handle waiter_;
  bool reading_ = false;
  bool read_again_ = false;
  bool may_wait_ = true;
};

void Api::read_mailbox(const AskedPtr& asked) {
  const HttpRequest& request = asked->request;
  const HttpReplier& reply = asked->reply;
  FetchRequest fetch;
  fetch.tenant = asked->who().tenant;
  fetch.mailbox_key = asked->part;
  fetch.bytes_max = kPageBytesMax;
  const auto limit = query_number(request, "limit", 100, 1, kMessagesMax);
  if (!limit.ok()) return reply(error_reply(limit.status()));
  fetch.limit = static_cast<int32_t>(*limit);
  const auto wait_s = query_number(request, "wait_s", 0, 0, kWaitMax.count());
  if (!wait_s.ok()) return reply(error_reply(wait_s.status()));
  const auto skip_damaged = query_number(request, "skip_damaged", 0, 0, 1);
  if (!skip_damaged.ok()) return reply(error_reply(skip_damaged.status()));
  fetch.skip_damaged = *skip_damaged != 0;
  if (const auto cursor = request.query.find("cursor"); cursor != request.query.end()) {
    const auto sequence = parse_cursor(cursor->second);
    if (!sequence) {
      return reply(error_reply(invalid_param(
          "cursor", "cursor is \"" + shown_name(cursor->second) + "\", which no answer gave")));
    }
    fetch.after_sequence = *sequence;
  }
  const auto job = query_number(request, "job", 0, 0, INT64_MAX);
  if (!job.ok()) return reply(error_reply(job.status()));
  const std::chrono::seconds wait(asked->stopping ? 0 : *wait_s);
  std::make_shared<MailboxRead>(*this, asked, std::move(fetch), static_cast<JobId>(*job))
      ->start(wait);
}

void Api::take_messages(const AskedPtr& asked) {
  auto take = parse_take(asked->request.body->take());
  if (!take.ok()) return asked->reply(error_reply(take.status()));
  if (!take->sequences.empty()) return take_named(asked, std::move(take->sequences));
  const FetchRequest oldest{asked->who().tenant, asked->part, 0, take->limit, false, kPageBytesMax};
  parts_.store.fetch(oldest, on_quick<FetchAnswer>(asked, [this, asked](Result<FetchAnswer> page) {
                       if (!page.ok()) return asked->reply(error_reply(page.status()));
                       // A take never steps over damage: a reader passes it with skip_damaged.
                       if (page->messages.empty() && page->damaged) {
                         return asked->reply({.body = render_page({}, page->next_sequence,
                                                                  cursors_of(page->damaged))});
                       }
                       std::vector<uint64_t> sequences;
                       for (const Message& message : page->messages) {
                         sequences.push_back(message.sequence);
                       }
                       take_named(asked, std::move(sequences));
                     }));
}

void Api::take_named(const AskedPtr& asked, std::vector<uint64_t> sequences) {
  parts_.store.take(
      asked->who().tenant, asked->part, std::move(sequences),
      on_quick<std::vector<Message>>(asked, [asked](Result<std::vector<Message>> taken) {
        if (!taken.ok()) return asked->reply(error_reply(taken.status()));
        asked->reply({.body = render_messages(*taken)});
      }));
}

}  // namespace parkd
