#include "lib/store/outbox/delivery.h"

#include <algorithm>
#include <iterator>
#include <thread>
#include <utility>

#include "lib/base/kill_point.h"
#include "lib/base/log.h"
#include "lib/store/answer_caught.h"
#include "lib/store/wait_for.h"

namespace parkd {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr size_t kBatchMessagesMax = 500;
constexpr size_t kBatchBytesMax = size_t{4} << 20;
constexpr milliseconds kBackoffMin{50};
constexpr milliseconds kBackoffMax{5000};
constexpr milliseconds kIdle{60'000};  // wake-ups come by themselves

Status stopped() {
  return unavailable("the store has stopped");
}

}  // namespace

Delivery::Delivery(const OutboxOptions& options, PostgresMailbox::Origin origin, ClientStore& queue,
                   RocksDbOutbox& outbox, Clock& clock)
    : options_(options),
      queue_(queue),
      outbox_(outbox),
      clock_(clock),
      mailbox_(options.mailbox, std::move(origin), "parkd-deliver"),
      sent_through_(outbox.identity().last_sequence),
      last_sequence_(outbox.identity().last_sequence),
      dropped_through_(outbox.identity().dropped_through) {}

Status Delivery::start() {
  const Status status = ensure_announced();
  if (status.code() == StatusCode::conflict || status.code() == StatusCode::internal) return status;
  settle(status);
  thread_ = Thread({"pg-deliver", 0}, [this] { run(); });
  return {};
}

void Delivery::stop() {
  inbox_.close();
  thread_.join();
  mailbox_.close();
}

// --- any thread

void Delivery::wake() {
  (void)inbox_.push(nullptr);
}

void Delivery::take(std::string tenant, std::string mailbox_key, std::vector<uint64_t> sequences,
                    Completion<std::vector<Message>> done) {
  const Deadline deadline = steady_clock::now() + options_.mailbox.verb_limit;
  const auto refuse = done;
  if (!inbox_.push([this, tenant = std::move(tenant), key = std::move(mailbox_key),
                    sequences = std::move(sequences), deadline, done = std::move(done)] {
        answer_caught(done, [&] { return take_now(tenant, key, sequences, deadline); });
      })) {
    refuse(stopped());
  }
}

void Delivery::maintain(PurgeAnswer answer, Completion<PurgeAnswer> done) {
  const auto refuse = done;
  if (!inbox_.push([this, answer, done = std::move(done)]() mutable {
        answer_caught(done, [&] {
          if (announced_) {
            const Result<int64_t> dropped = mailbox_.maintain(options_.queue.store);
            if (dropped.ok()) answer.messages += *dropped;
            note(dropped.status());
          }
          return answer;
        });
      })) {
    refuse(stopped());
  }
}

std::string Delivery::trouble() const {
  const std::lock_guard lock(mutex_);
  return trouble_;
}

// --- the thread

void Delivery::run() {
  for (;;) {
    milliseconds pause = kIdle;
    if (filled_) {
      pause = std::chrono::ceil<milliseconds>(next_try_ - steady_clock::now());
      pause = std::max(pause, milliseconds(0));
    }
    std::vector<Task> tasks = inbox_.wait_all(pause);
    if (inbox_.closed() && tasks.empty()) return;
    run_tasks(tasks);
    if (filled_ && steady_clock::now() >= next_try_) try_to_deliver();
  }
}

// What threw half-way may have been delivered: the database is asked how far it has come.
void Delivery::try_to_deliver() {
  try {
    settle(deliver_all());
  } catch (const std::exception&) {
    announced_ = false;
    settle(caught_status("delivery"));
  }
}

void Delivery::run_tasks(const std::vector<Task>& tasks) {
  for (const Task& task : tasks) {
    if (task) {
      task();
    } else {
      filled_ = true;
    }
  }
}

void Delivery::settle(const Status& status) {
  note(status);
  if (status.ok()) {
    backoff_ = milliseconds(0);
    return;
  }
  filled_ = true;
  backoff_ = std::clamp(2 * backoff_, kBackoffMin, kBackoffMax);
  next_try_ = steady_clock::now() + backoff_;
}

void Delivery::note(const Status& status) {
  std::string trouble = status.message();
  if (status.code() == StatusCode::unavailable) {
    trouble += "; tried again every 5 s at least, results wait on disk";
  }
  const std::lock_guard lock(mutex_);
  if (trouble == trouble_) return;
  trouble_ = trouble;
  if (status.ok()) {
    log_info("outbox.delivering", {});
  } else {
    log_warn("outbox.not_delivering", {{"error", status.to_string()}});
  }
}

Status Delivery::ensure_announced() {
  if (announced_) return {};
  PARKD_ASSIGN_OR_RETURN(const uint64_t through, mailbox_.announce(last_sequence_));
  if (through < delivered_here_) {
    log_error("outbox.database_went_back", {{"delivered_through", delivered_here_},
                                            {"database_has_through", through},
                                            {"why", "a restore or a failover lost messages"}});
    delivered_here_ = through;
  }
  if (through > dropped_through_) PARKD_RETURN_IF_ERROR(drop(through));
  sent_through_ = std::max(through, dropped_through_.load());
  announced_ = true;
  return {};
}

Status Delivery::deliver_all() {
  while (!inbox_.closed()) {
    PARKD_RETURN_IF_ERROR(ensure_announced());
    PARKD_ASSIGN_OR_RETURN(const OutboxPage page, wait_for<OutboxPage>([&](auto done) {
                             outbox_.read(kBatchMessagesMax, kBatchBytesMax, std::move(done));
                           }));
    if (page.through == 0) {
      filled_ = false;
      return {};
    }
    sent_through_ = std::max(sent_through_, page.through);
    last_sequence_ = std::max(last_sequence_, page.through);
    if (!page.messages.empty()) {
      PARKD_KILL_POINT("outbox.before_deliver");
      const Status delivered = mailbox_.deliver(page.messages);
      if (!delivered.ok()) {
        announced_ = false;
        return delivered;
      }
      delivered_here_ = page.messages.back().sequence;
      PARKD_KILL_POINT("outbox.after_deliver");
    }
    PARKD_RETURN_IF_ERROR(drop(page.through));
    PARKD_KILL_POINT("outbox.after_drop");
    run_tasks(inbox_.take_all());  // a take waits for one batch at most
  }
  return {};
}

// The number first: a reader that finds nothing in the queue's mailbox then knows to ask the
// database.
Status Delivery::drop(uint64_t through) {
  note({});  // before anybody can see that nothing waits any more
  dropped_through_ = through;
  return wait_for<int64_t>([&](auto done) { outbox_.drop_delivered(through, std::move(done)); })
      .status();
}

// --- take

Result<std::vector<Message>> Delivery::take_now(const std::string& tenant,
                                                const std::string& mailbox_key,
                                                const std::vector<uint64_t>& sequences,
                                                Deadline deadline) {
  std::vector<uint64_t> sent;
  for (const uint64_t sequence : sequences) {
    if (sequence <= sent_through_) sent.push_back(sequence);
  }
  std::vector<Message> taken;
  taken.reserve(2 * sequences.size());  // nothing that was taken waits for memory
  const auto add = [&taken](std::vector<Message> some) {
    std::move(some.begin(), some.end(), std::back_inserter(taken));
  };
  if (!sent.empty()) {
    PARKD_ASSIGN_OR_RETURN(auto delivered, take_delivered(tenant, mailbox_key, sent, deadline));
    add(std::move(delivered));
  }
  Result<std::vector<Message>> kept = caught("take", [&] {
    return wait_for<std::vector<Message>>(
        [&](auto done) { queue_.take(tenant, mailbox_key, sequences, std::move(done)); });
  });
  if (!kept.ok()) {
    if (taken.empty()) return kept;
    return taken;  // they are out of the database: no other reader will get them
  }
  add(*std::move(kept));
  const auto by_sequence = [](const Message& a, const Message& b) {
    return a.sequence < b.sequence;
  };
  const auto is_same = [](const Message& a, const Message& b) { return a.sequence == b.sequence; };
  std::sort(taken.begin(), taken.end(), by_sequence);
  taken.erase(std::unique(taken.begin(), taken.end(), is_same), taken.end());
  return taken;
}

Result<std::vector<Message>> Delivery::take_delivered(const std::string& tenant,
                                                      const std::string& mailbox_key,
                                                      const std::vector<uint64_t>& sequences,
                                                      Deadline deadline) {
  UncertainTake uncertain;
  for (milliseconds pause{20};; pause = std::min(2 * pause, milliseconds(500))) {
    if (!announced_ && steady_clock::now() > deadline) return unavailable(trouble());
    Result<std::vector<Message>> taken = caught("take", [&]() -> Result<std::vector<Message>> {
      PARKD_RETURN_IF_ERROR(ensure_announced());
      return mailbox_.take(tenant, mailbox_key, sequences, clock_.now(), uncertain);
    });
    if (taken.ok()) return taken;
    const Status& status = taken.status();
    (void)caught("take", [&] { note(status); });
    const bool may_pass = status.code() == StatusCode::unavailable;
    if (!may_pass || inbox_.closed() || steady_clock::now() + pause > deadline) return status;
    std::this_thread::sleep_for(pause);
  }
}

}  // namespace parkd
