// /v1/mailbox/KEY: read with a cursor, wait for the next message, take.
#include <boost/json.hpp>

#include "daemon/api.h"
#include "daemon/on_control.h"
#include "lib/base/text.h"
#include "lib/job/wire.h"

namespace parkd {
namespace {

constexpr int64_t kMessagesMax = 1000;  // of one answer
constexpr int64_t kWaitMax_s = 60;

// One reader of one key: reads, and where nothing is there and it may wait, reads again at each
// wake-up. Answers exactly once. Control thread.
class MailboxRead : public std::enable_shared_from_this<MailboxRead> {
 public:
  MailboxRead(boost::asio::io_context& io, JobStore& store, MailboxWaiters& waiters,
              FetchRequest request, ApiServer::Reply reply)
      : io_(io),
        store_(store),
        waiters_(waiters),
        request_(std::move(request)),
        reply_(std::move(reply)) {}

  void start(std::chrono::seconds wait) {
    if (wait.count() > 0) {
      waiter_ = waiters_.add(
          request_.tenant, request_.mailbox_key, wait,
          [self = shared_from_this()](MailboxWaiters::Call call) { self->on_call(call); });
    }
    read();
  }

 private:
  void read() {
    reading_ = true;
    read_again_ = false;
    store_.fetch(request_, on_control<FetchAnswer>(
                               io_, [self = shared_from_this()](Result<FetchAnswer> page) {
                                 self->on_page(std::move(page));
                               }));
  }

  void on_call(MailboxWaiters::Call call) {
    if (call == MailboxWaiters::Call::give_up) may_wait_ = false;
    if (answered_) return;
    if (reading_) {
      read_again_ = true;
    } else {
      read();
    }
  }

  void on_page(Result<FetchAnswer> page) {
    reading_ = false;
    if (answered_) return;
    if (!page.ok()) return answer(error_reply(page.status()));
    const bool wait = waiter_ != nullptr && may_wait_ && page->messages.empty();
    if (!wait) return answer({.body = render_page(page->messages, page->next_sequence)});
    if (read_again_) read();
  }

  void answer(ApiReply reply) {
    answered_ = true;
    if (waiter_ != nullptr) waiters_.remove(waiter_);
    waiter_.reset();
    reply_(std::move(reply));
  }

  boost::asio::io_context& io_;
  JobStore& store_;
  MailboxWaiters& waiters_;
  const FetchRequest request_;
  const ApiServer::Reply reply_;
  MailboxWaiters::Handle waiter_;
  bool reading_ = false;
  bool read_again_ = false;
  bool may_wait_ = true;
  bool answered_ = false;
};

struct Take {
  int32_t limit = 0;                // the oldest so many, when no message is named
  std::vector<uint64_t> sequences;  // the named ones
};

Result<Take> parse_take(const std::string& body) {
  Take take;
  boost::json::error_code error;
  const auto parsed = boost::json::parse(body.empty() ? "{}" : body, error);
  if (error || !parsed.is_object()) return invalid("the request must be a JSON object");
  take.limit = 100;
  for (const auto& field : parsed.get_object()) {
    if (field.key() == "limit" && field.value().is_int64()) {
      const int64_t limit = field.value().get_int64();
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
      return invalid_param(std::string(field.key()),
                           "take has limit (a number) or cursors (a list)");
    }
  }
  return take;
}

}  // namespace

void Api::read_mailbox(const ApiRequest& request, const std::string& key, const Caller& caller,
                       Reply reply) {
  FetchRequest fetch;
  fetch.tenant = caller.tenant;
  fetch.mailbox_key = key;
  const auto limit = query_number(request, "limit", 100, 1, kMessagesMax);
  if (!limit.ok()) return reply(error_reply(limit.status()));
  fetch.limit = static_cast<int32_t>(*limit);
  const auto wait_s = query_number(request, "wait_s", 0, 0, kWaitMax_s);
  if (!wait_s.ok()) return reply(error_reply(wait_s.status()));
  if (const auto cursor = request.query.find("cursor"); cursor != request.query.end()) {
    const auto sequence = parse_cursor(cursor->second);
    if (!sequence) {
      return reply(error_reply(
          invalid_param("cursor", "cursor is \"" + cursor->second + "\", which no answer gave")));
    }
    fetch.after_sequence = *sequence;
  }
  const std::chrono::seconds wait(stopping_ ? 0 : *wait_s);
  std::make_shared<MailboxRead>(parts_.io, parts_.store, waiters_, std::move(fetch),
                                std::move(reply))
      ->start(wait);
}

void Api::take_messages(const ApiRequest& request, const std::string& key, const Caller& caller,
                        Reply reply) {
  auto take = parse_take(request.body);
  if (!take.ok()) return reply(error_reply(take.status()));
  const auto take_named = [this, tenant = caller.tenant, key,
                           reply](std::vector<uint64_t> sequences) {
    parts_.store.take(tenant, key, std::move(sequences),
                      [reply](Result<std::vector<Message>> taken) {
                        if (!taken.ok()) return reply(error_reply(taken.status()));
                        reply({.body = render_messages(*taken)});
                      });
  };
  if (!take->sequences.empty()) return take_named(std::move(take->sequences));
  const FetchRequest oldest{caller.tenant, key, 0, take->limit};
  parts_.store.fetch(
      oldest, on_control<FetchAnswer>(parts_.io, [take_named, reply](Result<FetchAnswer> page) {
        if (!page.ok()) return reply(error_reply(page.status()));
        std::vector<uint64_t> sequences;
        for (const Message& message : page->messages) {
          sequences.push_back(message.sequence);
        }
        take_named(std::move(sequences));
      }));
}

}  // namespace parkd
