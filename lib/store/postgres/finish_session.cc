#include "lib/store/postgres/finish_session.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "lib/base/kill_point.h"
#include "lib/store/answer_caught.h"

namespace parkd {
namespace {

using std::chrono::milliseconds;

constexpr size_t kItemsMax = 500;  // of one statement

void keep_first(Status& status, const Status& next) {
  if (status.ok()) status = next;
}

}  // namespace

FinishSession::FinishSession(SharedState& shared, HeldClaims& held)
    : shared_(shared), held_(held), connection_(shared.connection_options("parkd-finish")) {}

void FinishSession::start() {
  thread_ = Thread({"pg-finish", 0}, [this] { loop(); });
}

void FinishSession::finish(std::vector<FinishItem> items,
                           Completion<std::vector<FinishAnswer>> done) {
  if (!calls_.push(Call(FinishCall{std::move(items), done}))) done(store_has_stopped());
}

void FinishSession::release(std::vector<ReleaseItem> items,
                            Completion<std::vector<ReleaseAnswer>> done) {
  if (!calls_.push(Call(ReleaseCall{std::move(items), done}))) done(store_has_stopped());
}

void FinishSession::close() {
  calls_.close();
}

void FinishSession::join() {
  thread_.join();
  connection_.close();
}

void FinishSession::loop() {
  std::vector<Call> calls;
  Locked locked = Locked::wait;
  Backoff backoff;
  milliseconds pause{0};
  for (;;) {
    std::vector<Call> more = calls.empty() ? calls_.wait_all() : calls_.wait_all(pause);
    pause = milliseconds(0);
    if (calls.empty() && more.empty() && calls_.closed()) return;
    const Status has_room = caught("finish", [&] {
      calls.reserve(calls.size() + more.size());
      return Status();
    });
    if (!has_room.ok()) {
      for (Call& call : more) give_up(call, has_room);
      more.clear();
    }
    std::move(more.begin(), more.end(), std::back_inserter(calls));
    // What finds no memory is sent again: a finish that was committed gets its answer then.
    const Status status = caught("finish", [&] { return send(calls, locked); });
    if (!status.ok() && status.code() != StatusCode::unavailable) {  // it would throw for ever
      for (Call& call : calls) {
        if (is_complete(call)) {
          answer(call);
        } else {
          std::visit([&](auto& ended) { refuse(ended, status); }, call);
        }
      }
      calls.clear();
    }
    if (calls.empty()) {
      locked = Locked::wait;
      backoff = {};
      continue;
    }
    if (locked == Locked::wait && connection_.sqlstate() == kLockNotAvailable) {
      locked = Locked::skip;
      continue;
    }
    if (status.ok() && !calls_.closed()) {  // held: what comes meanwhile is sent at once
      pause = kHeldRetry;
      continue;
    }
    if (shared_.wait_to_retry(backoff, std::nullopt)) continue;
    const Status why = status.ok() ? unavailable("an open transaction holds it") : status;
    for (Call& call : calls) give_up(call, why);
    calls.clear();
  }
}

Status FinishSession::send(std::vector<Call>& calls, Locked locked) {
  Status status;
  std::vector<FinishCall*> finishes;
  size_t n_items = 0;
  const auto flush = [&] {
    if (!finishes.empty()) keep_first(status, send_items(finishes, locked));
    finishes.clear();
    n_items = 0;
  };
  for (Call& call : calls) {
    if (auto* release = std::get_if<ReleaseCall>(&call)) {
      keep_first(status, send_items(std::vector<ReleaseCall*>{release}, locked));
      continue;
    }
    finishes.push_back(&std::get<FinishCall>(call));
    n_items += finishes.back()->items.size();
    if (n_items >= kItemsMax) flush();
  }
  flush();
  const auto complete = std::stable_partition(calls.begin(), calls.end(),
                                              [](const Call& call) { return !is_complete(call); });
  std::for_each(complete, calls.end(), answer);
  calls.erase(complete, calls.end());
  return status;
}

template <class Item, class Answer>
Status FinishSession::send_items(const std::vector<CallOf<Item, Answer>*>& calls, Locked locked) {
  std::vector<const Item*> items;
  std::vector<std::optional<Answer>*> places;
  for (CallOf<Item, Answer>* call : calls) {
    call->answers.resize(call->items.size());
    for (size_t i = 0; i < call->items.size(); ++i) {
      if (call->answers[i]) continue;
      items.push_back(&call->items[i]);
      places.push_back(&call->answers[i]);
    }
  }
  if (items.empty()) return {};
  Wakeups wakeups;
  const Ended<Answer> ended = end_items(items, locked, wakeups);
  shared_.note(ended.status);
  bool any = false;
  for (size_t i = 0; i < items.size(); ++i) {
    *places[i] = ended.answers[i];
    if (!ended.answers[i]) continue;
    any = true;
    held_.ended(items[i]->id);
  }
  if (any) shared_.count_commit();
  shared_.tell(wakeups);
  if (ended.status.ok() || ended.status.code() == StatusCode::unavailable) return ended.status;
  // Of no use to send it again.
  for (CallOf<Item, Answer>* call : calls) refuse(*call, ended.status);
  return {};
}

Ended<FinishAnswer> FinishSession::end_items(const std::vector<const FinishItem*>& items,
                                             Locked locked, Wakeups& wakeups) {
  PARKD_KILL_POINT("finish.before_commit");
  auto ended = finish_jobs(connection_, items, locked, shared_.now(), wakeups);
  if (connection_.uncertain()) shared_.count_uncertain_finish();
  if (ended.status.ok()) PARKD_KILL_POINT("finish.after_commit");
  return ended;
}

Ended<ReleaseAnswer> FinishSession::end_items(const std::vector<const ReleaseItem*>& items,
                                              Locked locked, Wakeups& wakeups) {
  auto ended = release_jobs(connection_, items, locked, shared_.now(), wakeups);
  if (ended.status.ok()) PARKD_KILL_POINT("release.after_commit");
  return ended;
}

// What is left of the call is complete, and answered.
template <class Item, class Answer>
void FinishSession::refuse(CallOf<Item, Answer>& call, const Status& why) {
  for (const Item& item : call.items) held_.ended(item.id);
  call.items.clear();
  call.answers.clear();
  answer_once<std::vector<Answer>>(call.done, why);
}

bool FinishSession::is_complete(const Call& call) {
  return std::visit(
      [](const auto& ended) {
        return ended.answers.size() == ended.items.size() &&
               std::all_of(ended.answers.begin(), ended.answers.end(),
                           [](const auto& answer) { return answer.has_value(); });
      },
      call);
}

// Once, also where it throws before the call is removed.
void FinishSession::answer(Call& call) {
  const auto answer_all = []<class Item, class Answer>(CallOf<Item, Answer>& ended) {
    std::vector<Answer> answers;
    for (const auto& each : ended.answers) answers.push_back(*each);
    answer_once<std::vector<Answer>>(ended.done, std::move(answers));
  };
  std::visit(answer_all, call);
}

void FinishSession::give_up(Call& call, const Status& why) {
  std::visit(
      [&]<class Item, class Answer>(CallOf<Item, Answer>& ended) {
        answer_once<std::vector<Answer>>(ended.done, why);
      },
      call);
}

}  // namespace parkd
