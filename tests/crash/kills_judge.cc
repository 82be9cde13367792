// Account's last word: everything that was told and shown against what is there when all is done.
#include <algorithm>

#include "tests/crash/kills_account.h"

namespace parkd::testing {

void Account::judge(const Truth& truth) {
  const std::lock_guard lock(mutex_);
  for (const Shown& message : truth.messages) see(message, "the last reader");
  judge_ids(truth);
  judge_readers(truth);
  judge_submits();
  judge_batches(truth);
}

bool Account::may_be_cancelled(int64_t id, const Order& order) const {
  const auto run = runs_.find(id);
  if (run == runs_.end()) return cancelled_batches_.count(order.batch) != 0;
  return run->second.cancel_asked ||
         (run->second.requeued_from == 0 && cancelled_batches_.count(order.batch) != 0);
}

// Each acknowledged job has one message, or one that was taken; each ended as it may.
void Account::judge_ids(const Truth& truth) {
  std::map<int64_t, int> there;
  for (const Shown& message : truth.messages) {
    ++there[message.id];
    const auto order = orders_.find(message.custom_id);
    if (order == orders_.end()) continue;  // a finding already
    const auto run = runs_.find(message.id);
    const bool was_requeued = run != runs_.end() && run->second.requeued_from != 0;
    const std::string& batch = was_requeued ? std::string() : order->second.order.batch;
    if (message.batch != batch) {
      find(Fault::wrong, named(message.id) + " is shown as of batch \"" + message.batch + "\"");
    }
  }
  for (const auto& [id, n] : there) {
    if (n > 1) find(Fault::doubled, named(id) + " has " + std::to_string(n) + " messages");
  }
  for (const auto& [id, run] : runs_) {
    const auto end = ends_.find(id);
    const bool taken = end != ends_.end() && end->second.taken_at != 0;
    const bool doubt = end != ends_.end() && end->second.take_in_doubt;
    const bool is_there = there.count(id) != 0;
    if (taken && is_there) find(Fault::doubled, named(id) + " was taken and is there");
    if (!taken && !doubt && !is_there) find(Fault::lost, named(id) + " has no message");
    const auto outcome = truth.outcomes.find(id);
    if (outcome == truth.outcomes.end()) {
      find(Fault::lost, "in the end nobody knows " + named(id));
    } else if (outcome->second.empty()) {
      find(Fault::leaked, named(id) + " is live when all is done");
    } else if (end != ends_.end() && end->second.outcome != outcome->second) {
      find(Fault::doubled,
           named(id) + " ended as " + end->second.outcome + " and as " + outcome->second);
    }
  }
  for (const auto& [id, end] : ends_) {
    const auto run = runs_.find(id);
    if (run == runs_.end()) continue;  // judge_submits
    const Order& order = orders_.at(run->second.custom_id).order;
    const bool may =
        end.outcome == "completed" || (end.outcome == "cancelled" && may_be_cancelled(id, order)) ||
        (end.outcome == "deadline_missed" && order.may_miss && run->second.requeued_from == 0);
    if (!may) find(Fault::wrong, named(id) + " ended as " + end.outcome);
    if (run->second.cancelled && end.outcome != "cancelled") {
      find(Fault::wrong, named(id) + " was answered to be cancelled and is " + end.outcome);
    }
  }
}

// Each reader has read to the end, so each has seen what is there.
void Account::judge_readers(const Truth& truth) {
  std::map<Box, std::vector<const Shown*>> boxes;
  for (const Shown& message : truth.messages) {
    boxes[{message.tenant, message.mailbox_key, false}].push_back(&message);
  }
  for (const Reader& reader : readers_) {
    for (const Shown* message : boxes[reader.box]) {
      if (reader.seen.count(message->id) != 0) continue;
      find(Fault::skipped, reader.name + " stands at " + std::to_string(reader.cursor) +
                               " and has not seen " + named(message->id) + " at " +
                               std::to_string(message->sequence));
    }
  }
}

// Jobs of submits without an answer: at most one for each, all of a submit or none. What was
// refused is nowhere.
void Account::judge_submits() {
  std::map<std::string, std::set<int64_t>> strangers;  // custom_id: ids that nobody was told
  for (const auto& [id, end] : ends_) {
    if (runs_.count(id) == 0) strangers[end.custom_id].insert(id);
  }
  std::map<uint64_t, std::pair<int, int>>
      submits;  // of those in doubt: how many are there, and not
  for (const auto& [name, placed] : orders_) {
    const auto found_ids = strangers.find(name);
    const size_t n = found_ids == strangers.end() ? 0 : found_ids->second.size();
    if (placed.answer == Answer::nothing && !placed.order.box.has_takers) {
      ++(n > 0 ? submits[placed.submit].first : submits[placed.submit].second);
    }
    if (n > (placed.answer == Answer::nothing ? 1u : 0u)) {
      find(placed.answer == Answer::never ? Fault::wrong : Fault::doubled,
           name + " is job " + std::to_string(*found_ids->second.begin()) +
               (placed.answer == Answer::never ? ", and was refused" : ", too"));
    }
  }
  for (const auto& [submit, counted] : submits) {
    if (counted.first > 0 && counted.second > 0) {
      find(Fault::wrong, "of submit " + std::to_string(submit) + " " +
                             std::to_string(counted.first) + " jobs are there and " +
                             std::to_string(counted.second) + " are not");
    }
  }
}

// A batch's counters are its members' messages: batches have mailboxes without takers.
void Account::judge_batches(const Truth& truth) {
  std::map<std::string, BatchRow> counted;
  for (const Shown& message : truth.messages) {
    if (message.batch.empty()) continue;
    BatchRow& row = counted[message.batch];
    ++row.total;
    ++row.ended[message.outcome];
    row.truncated += message.outcome == "completed" && message.truncated;
  }
  for (const std::string& batch : batches_) {
    const auto row = truth.batches.find(batch);
    if (row == truth.batches.end()) {
      find(Fault::lost, "nobody knows " + batch);
      continue;
    }
    if (row->second.status != "finished") {
      find(Fault::leaked, batch + " is " + row->second.status + " when all is done");
    }
    const BatchRow& members = counted[batch];
    const auto compare = [&](const std::string& what, int64_t says, int64_t is) {
      if (says == is) return;
      find(Fault::wrong, batch + " counts " + std::to_string(says) + " " + what + ", and has " +
                             std::to_string(is));
    };
    compare("members", row->second.total, members.total);
    compare("truncated", row->second.truncated, members.truncated);
    for (const char* outcome :
         {"completed", "failed", "cancelled", "deadline_missed", "quarantined"}) {
      const auto is = members.ended.find(outcome);
      const auto says = row->second.ended.find(outcome);
      compare(outcome, says == row->second.ended.end() ? 0 : says->second,
              is == members.ended.end() ? 0 : is->second);
    }
  }
}

}  // namespace parkd::testing
