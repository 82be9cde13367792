#include "tests/crash/kills_account.h"

#include <algorithm>

namespace parkd::testing {
namespace {

constexpr size_t kFindingsKept = 12;  // of each kind; all are counted

}  // namespace

const char* to_string(Fault fault) {
  constexpr const char* kNames[] = {"lost", "doubled", "skipped", "leaked", "wrong"};
  return kNames[static_cast<size_t>(fault)];
}

void Account::find(Fault fault, const std::string& what) {
  const auto kind = static_cast<size_t>(fault);
  if (++faults_[kind] <= int64_t{kFindingsKept}) {
    findings_.push_back(std::string(to_string(fault)) + ": " + what);
  }
}

void Account::found(Fault fault, const std::string& what) {
  const std::lock_guard lock(mutex_);
  find(fault, what);
}

std::string Account::named(int64_t id) const {
  const auto run = runs_.find(id);
  return "job " + std::to_string(id) + " (" +
         (run == runs_.end() ? "of an unanswered submit" : run->second.custom_id) + ")";
}

// --- submits

void Account::submitting(const Orders& orders) {
  const std::lock_guard lock(mutex_);
  ++n_submits_;
  for (const Order& order : orders) {
    const auto [placed, fresh] = orders_.emplace(order.custom_id, Placed{});
    if (!fresh) continue;  // sent again
    placed->second.order = order;
    placed->second.submit = n_submits_;
    ++counts_.in_doubt;
  }
}

void Account::accepted(const Orders& orders, const Ids& ids) {
  const std::lock_guard lock(mutex_);
  if (ids.size() != orders.size()) {
    return find(Fault::wrong,
                std::to_string(ids.size()) + " ids for " + std::to_string(orders.size()) + " jobs");
  }
  for (size_t i = 0; i < ids.size(); ++i) {
    Placed& placed = orders_.at(orders[i].custom_id);
    if (placed.answer == Answer::never) {
      find(Fault::wrong, orders[i].custom_id + " was refused before it was accepted");
    }
    if (placed.answer == Answer::accepted) {
      if (placed.id != ids[i]) {
        find(Fault::doubled, orders[i].custom_id + " is job " + std::to_string(placed.id) +
                                 " and job " + std::to_string(ids[i]));
      }
      continue;
    }
    counts_.in_doubt -= placed.answer == Answer::nothing;
    placed.answer = Answer::accepted;
    placed.id = ids[i];
    const auto [run, fresh] = runs_.emplace(ids[i], Run{});
    if (!fresh) find(Fault::wrong, "job " + std::to_string(ids[i]) + " was given out twice");
    run->second.custom_id = orders[i].custom_id;
    ++counts_.acknowledged;
    if (ends_.count(ids[i]) == 0) open_.insert(ids[i]);
  }
}

void Account::refused(const Orders& orders, const std::string& why) {
  const std::lock_guard lock(mutex_);
  for (const Order& order : orders) {
    Placed& placed = orders_.at(order.custom_id);
    if (placed.answer == Answer::accepted) {
      find(Fault::lost, order.custom_id + " was accepted, and refused when sent again: " + why);
    } else {
      counts_.in_doubt -= placed.answer == Answer::nothing;
      placed.answer = Answer::never;
      if (!order.may_miss) find(Fault::wrong, order.custom_id + " was refused: " + why);
    }
  }
}

// --- the other verbs

void Account::cancelling(int64_t id) {
  const std::lock_guard lock(mutex_);
  runs_.at(id).cancel_asked = true;
}

void Account::cancel_said(int64_t id, const std::string& word) {
  const std::lock_guard lock(mutex_);
  if (word == "not_found") find(Fault::lost, "cancel does not know " + named(id));
  if (word == "cancelled" || word == "cancelling") runs_.at(id).cancelled = true;
}

void Account::cancelling_batch(const std::string& batch) {
  const std::lock_guard lock(mutex_);
  cancelled_batches_.insert(batch);
}

void Account::batch_opened(const std::string& batch) {
  const std::lock_guard lock(mutex_);
  if (batches_.insert(batch).second) ++counts_.batches;
}

void Account::requeued(int64_t id, const std::map<int64_t, int64_t>& became) {
  const std::lock_guard lock(mutex_);
  const auto next = became.find(id);
  if (next == became.end()) {
    return find(Fault::lost, named(id) + " did not complete and was not requeued");
  }
  const auto [known, fresh] = became_.emplace(id, next->second);
  if (!fresh) {
    if (known->second != next->second) {
      find(Fault::doubled, named(id) + " was requeued as " + std::to_string(known->second) +
                               " and as " + std::to_string(next->second));
    }
    return;
  }
  ++counts_.requeued;
  ++counts_.acknowledged;
  Run& run = runs_[next->second];
  run.custom_id = runs_.at(id).custom_id;
  run.requeued_from = id;
  if (ends_.count(next->second) == 0) open_.insert(next->second);
}

void Account::took(const Box& box, const std::vector<Shown>& messages) {
  const std::lock_guard lock(mutex_);
  for (const Shown& message : messages) {
    see(message, "a taker of " + box.key);
    End& end = ends_.at(message.id);
    if (end.taken_at != 0) find(Fault::doubled, named(message.id) + " was taken twice");
    end.taken_at = ++now_;
    ++counts_.taken;
  }
}

void Account::take_in_doubt(const std::vector<Shown>& messages) {
  const std::lock_guard lock(mutex_);
  ++counts_.takes_in_doubt;
  for (const Shown& message : messages) {
    see(message, "a taker");
    ends_.at(message.id).take_in_doubt = true;
  }
}

// --- readers

uint64_t Account::moment() const {
  const std::lock_guard lock(mutex_);
  return ++now_;
}

int Account::add_reader(const std::string& name, const Box& box) {
  const std::lock_guard lock(mutex_);
  readers_.push_back({name, box, 0, {}});
  return static_cast<int>(readers_.size()) - 1;
}

void Account::read(int reader, uint64_t asked, uint64_t after, const std::vector<Shown>& page,
                   uint64_t next) {
  const std::lock_guard lock(mutex_);
  ++counts_.pages;
  Reader& by = readers_.at(static_cast<size_t>(reader));
  uint64_t last = after;
  for (const Shown& message : page) {
    if (message.sequence <= last) {
      find(Fault::wrong, by.name + " got cursor " + std::to_string(message.sequence) + " after " +
                             std::to_string(last));
    }
    last = message.sequence;
    see(message, by.name);
    const End& end = ends_.at(message.id);
    if (end.taken_at != 0 && end.taken_at < asked) {
      find(Fault::doubled, named(message.id) + " was taken, and " + by.name + " reads it");
    }
    if (++by.seen[message.id] > 1) {
      find(Fault::doubled, by.name + " read " + named(message.id) + " twice");
    }
  }
  if (next < last) {
    find(Fault::wrong,
         by.name + " is sent back from " + std::to_string(last) + " to " + std::to_string(next));
  }
  by.cursor = next;
}

void Account::noticed(const std::vector<Shown>& page) {
  const std::lock_guard lock(mutex_);
  for (const Shown& message : page) see(message, "somebody");
}

void Account::looked_at(int64_t id, uint64_t asked, const std::optional<std::string>& outcome) {
  const std::lock_guard lock(mutex_);
  if (!outcome) return find(Fault::lost, "nobody knows " + named(id));
  const auto end = ends_.find(id);
  if (outcome->empty()) {
    if (end != ends_.end() && end->second.moment < asked) {
      find(Fault::doubled, named(id) + " has had its message and is live again");
    }
    return;
  }
  if (end != ends_.end() && end->second.outcome != *outcome) {
    find(Fault::doubled, named(id) + " ended as " + end->second.outcome + " and as " + *outcome);
  }
  open_.erase(id);
}

// First sight of a message, or the same as before.
void Account::see(const Shown& message, const std::string& who) {
  const auto [known, fresh] = ends_.emplace(message.id, End{});
  End& end = known->second;
  if (!fresh) {
    if (end.sequence != message.sequence || end.outcome != message.outcome) {
      find(Fault::doubled, who + " was shown another message of " + named(message.id) + ": " +
                               message.outcome + " at " + std::to_string(message.sequence) +
                               ", before " + end.outcome + " at " + std::to_string(end.sequence));
    }
    return;
  }
  end.custom_id = message.custom_id;
  end.sequence = message.sequence;
  end.outcome = message.outcome;
  end.moment = ++now_;
  open_.erase(message.id);
  ++counts_.ended;
  check_message(message, who);
}

// What can be said of a message alone.
void Account::check_message(const Shown& message, const std::string& who) {
  const auto placed = orders_.find(message.custom_id);
  if (placed == orders_.end()) {
    return find(Fault::wrong, who + " was shown a message of nobody's: " + message.custom_id);
  }
  const Order& order = placed->second.order;
  if (order.box.tenant != message.tenant || order.box.key != message.mailbox_key) {
    find(Fault::wrong, message.custom_id + " lies in the mailbox " + message.mailbox_key + " of " +
                           message.tenant);
  }
  counts_.cancelled += message.outcome == "cancelled";
  counts_.missed += message.outcome == "deadline_missed";
  if (message.outcome != "completed") {
    if (!order.box.has_takers) not_completed_.push_back(message.id);
    return;
  }
  const auto [text, fresh] = texts_.emplace(order.content, message.text);
  if (fresh) counts_.texts = static_cast<int64_t>(texts_.size());
  if (text->second != message.text) {
    find(Fault::wrong, message.custom_id + " has the answer of another job: \"" + message.text +
                           "\", not \"" + text->second + "\"");
  }
}

// --- whom to act on

std::optional<int64_t> Account::some_job(std::mt19937_64& random, bool an_open_one) const {
  const std::lock_guard lock(mutex_);
  if (an_open_one) {
    if (open_.empty()) return std::nullopt;
    return *open_.begin();  // the one that nobody has heard of for longest
  }
  if (runs_.empty()) return std::nullopt;
  const auto first = runs_.begin()->first;
  const auto span = static_cast<uint64_t>(runs_.rbegin()->first - first) + 1;
  return runs_.lower_bound(first + static_cast<int64_t>(random() % span))->first;
}

std::optional<int64_t> Account::newest_job(std::mt19937_64& random) const {
  const std::lock_guard lock(mutex_);
  auto skip = static_cast<int>(random() % 6);
  for (auto run = runs_.rbegin(); run != runs_.rend() && skip > -50; ++run) {
    if (--skip < 0 && !orders_.at(run->second.custom_id).order.box.has_takers) return run->first;
  }
  return std::nullopt;
}

std::optional<int64_t> Account::one_that_did_not_complete(std::mt19937_64& random) const {
  const std::lock_guard lock(mutex_);
  if (not_completed_.empty()) return std::nullopt;
  // The latest ones for the most part, and now and then one that was requeued long ago.
  const size_t n = not_completed_.size();
  const size_t back = random() % 4 == 0 ? random() % n : random() % std::min<size_t>(n, 5);
  const int64_t id = not_completed_[n - 1 - back];
  if (runs_.count(id) == 0) return std::nullopt;  // of a submit in doubt
  return id;
}

// --- looking at the account

Account::Counts Account::counts() const {
  const std::lock_guard lock(mutex_);
  Counts counts = counts_;
  counts.open = static_cast<int64_t>(open_.size());
  return counts;
}

std::set<std::string> Account::batches() const {
  const std::lock_guard lock(mutex_);
  return batches_;
}

Account::Ids Account::jobs() const {
  const std::lock_guard lock(mutex_);
  Ids ids;
  for (const auto& [id, run] : runs_) ids.push_back(id);
  return ids;
}

int64_t Account::n_ended() const {
  const std::lock_guard lock(mutex_);
  return static_cast<int64_t>(ends_.size());
}

std::array<int64_t, kFaults> Account::faults() const {
  const std::lock_guard lock(mutex_);
  return faults_;
}

std::vector<std::string> Account::findings() const {
  const std::lock_guard lock(mutex_);
  return findings_;
}

}  // namespace parkd::testing
