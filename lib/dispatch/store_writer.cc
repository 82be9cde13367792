#include "lib/dispatch/store_writer.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "lib/base/check.h"
#include "lib/base/log.h"

namespace parkd {
namespace {

// Takes the next batch off the front: up to `max` items, or one that must go alone.
template <class Item>
std::vector<Outgoing<Item>> take_batch(std::vector<Outgoing<Item>>& queue, int32_t max) {
  size_t n = 0;
  while (n < queue.size() && n < static_cast<size_t>(max) && !queue[n].alone) ++n;
  n = std::min(std::max<size_t>(n, 1), queue.size());
  std::vector<Outgoing<Item>> batch(std::make_move_iterator(queue.begin()),
                                    std::make_move_iterator(queue.begin() + n));
  queue.erase(queue.begin(), queue.begin() + n);
  return batch;
}

template <class Item>
std::vector<Item> items_of(const std::vector<Outgoing<Item>>& batch) {
  std::vector<Item> items;
  items.reserve(batch.size());
  for (const Outgoing<Item>& outgoing : batch) items.push_back(outgoing.item);
  return items;
}

// Puts a batch that was not taken back into its queue: to the front when the store is away, to the
// end and each item for itself when one of them may be what it choked on.
template <class Item>
void put_back(std::vector<Outgoing<Item>>& queue, std::vector<Outgoing<Item>> batch,
              const Status& status) {
  const bool store_is_away = status.code() == StatusCode::unavailable;
  for (Outgoing<Item>& outgoing : batch) outgoing.alone |= !store_is_away;
  queue.insert(store_is_away ? queue.begin() : queue.end(), std::make_move_iterator(batch.begin()),
               std::make_move_iterator(batch.end()));
}

// Takes out what will not be sent again, answered as lost.
template <class Item, class Answer>
std::vector<Settled<Answer>> settle_lost(std::vector<Outgoing<Item>>& batch, Answer lease_lost) {
  std::vector<Settled<Answer>> settled;
  for (const Outgoing<Item>& outgoing : batch) {
    if (outgoing.lost) settled.push_back({outgoing.ticket, lease_lost});
  }
  batch.erase(std::remove_if(batch.begin(), batch.end(), [](const auto& o) { return o.lost; }),
              batch.end());
  return settled;
}

template <class Item, class Answer>
std::vector<Settled<Answer>> settle(const std::vector<Outgoing<Item>>& batch,
                                    const std::vector<Answer>& answers) {
  PARKD_CHECK(answers.size() == batch.size(), "a store answers each item of a batch");
  std::vector<Settled<Answer>> settled;
  for (size_t i = 0; i < batch.size(); ++i) settled.push_back({batch[i].ticket, answers[i]});
  return settled;
}

}  // namespace

StoreWriter::StoreWriter(Options options, DaemonStore& store,
                         std::function<void(FinishDone)> finish_done,
                         std::function<void(ReleaseDone)> release_done)
    : options_(options),
      store_(store),
      finish_done_(std::move(finish_done)),
      release_done_(std::move(release_done)),
      retry_delay_(options.retry_min) {}

void StoreWriter::finish(uint64_t ticket, FinishItem item, SteadyTime now) {
  if (!oldest_finish_) oldest_finish_ = now;
  finishes_.push_back({ticket, std::move(item), false});
}

void StoreWriter::release(uint64_t ticket, ReleaseItem item) {
  releases_.push_back({ticket, item, false});
}

std::optional<SteadyTime> StoreWriter::next_due() const {
  std::optional<SteadyTime> due;
  // In trouble one batch of each verb probes; the rest follows when it has been taken.
  if (trouble_ && !(finishes_sent_.empty() && releases_sent_.empty())) return due;
  if (!releases_.empty()) due = SteadyTime{};
  if (!finishes_.empty()) {
    const bool full = finishes_.size() >= static_cast<size_t>(options_.batch_max);
    const SteadyTime finish_due = full ? SteadyTime{} : *oldest_finish_ + options_.finish_delay;
    due = due ? std::min(*due, finish_due) : finish_due;
  }
  if (due && trouble_) due = std::max(*due, not_before_);
  return due;
}

bool StoreWriter::flush(SteadyTime now) {
  const auto due = next_due();
  if (!due || *due > now) return false;
  const bool probing = trouble_;
  while (!releases_.empty()) {
    const uint64_t batch = next_batch_++;
    auto& items = releases_sent_[batch] = take_batch(releases_, options_.batch_max);
    store_.release(items_of(items), [done = release_done_, batch](auto answers) {
      done({batch, std::move(answers)});
    });
    if (probing) break;
  }
  while (!finishes_.empty()) {
    const uint64_t batch = next_batch_++;
    auto& items = finishes_sent_[batch] = take_batch(finishes_, options_.batch_max);
    store_.finish(items_of(items), [done = finish_done_, batch](auto answers) {
      done({batch, std::move(answers)});
    });
    if (probing) break;
  }
  if (finishes_.empty()) oldest_finish_.reset();
  return true;
}

void StoreWriter::note_failure(const Status& status, const char* verb, size_t items,
                               SteadyTime now) {
  retry_delay_ = trouble_ ? std::min(retry_delay_ * 2, options_.retry_max) : options_.retry_min;
  trouble_ = true;
  not_before_ = now + retry_delay_;
  if (status.code() == StatusCode::unavailable) {
    log_warn("store.retry", {{"verb", verb},
                             {"items", items},
                             {"error", status.to_string()},
                             {"retry_ms", retry_delay_.count() / 1000}});
  } else {
    log_error("store.failed", {{"verb", verb},
                               {"items", items},
                               {"error", status.to_string()},
                               {"retry_ms", retry_delay_.count() / 1000}});
  }
}

std::vector<Settled<FinishAnswer>> StoreWriter::on_finished(FinishDone done, SteadyTime now) {
  const auto found = finishes_sent_.find(done.batch);
  PARKD_CHECK(found != finishes_sent_.end(), "a finish was answered twice");
  auto batch = std::move(found->second);
  finishes_sent_.erase(found);
  if (!done.answers.ok()) {
    note_failure(done.answers.status(), "finish", batch.size(), now);
    auto lost = settle_lost(batch, FinishAnswer::lease_lost);
    put_back(finishes_, std::move(batch), done.answers.status());
    if (!finishes_.empty()) oldest_finish_ = now - options_.finish_delay;
    return lost;
  }
  trouble_ = false;
  return settle(batch, *done.answers);
}

std::vector<Settled<ReleaseAnswer>> StoreWriter::on_released(ReleaseDone done, SteadyTime now) {
  const auto found = releases_sent_.find(done.batch);
  PARKD_CHECK(found != releases_sent_.end(), "a release was answered twice");
  auto batch = std::move(found->second);
  releases_sent_.erase(found);
  if (!done.answers.ok()) {
    note_failure(done.answers.status(), "release", batch.size(), now);
    auto lost = settle_lost(batch, ReleaseAnswer::lease_lost);
    put_back(releases_, std::move(batch), done.answers.status());
    return lost;
  }
  trouble_ = false;
  return settle(batch, *done.answers);
}

std::unordered_set<uint64_t> StoreWriter::lose_all() {
  finishes_.clear();
  releases_.clear();
  oldest_finish_.reset();
  std::unordered_set<uint64_t> sent;
  const auto mark = [&sent](auto& batches) {
    for (auto& [batch, items] : batches) {
      for (auto& outgoing : items) {
        outgoing.lost = true;
        sent.insert(outgoing.ticket);
      }
    }
  };
  mark(finishes_sent_);
  mark(releases_sent_);
  return sent;
}

int64_t StoreWriter::unstored() const {
  size_t n = finishes_.size() + releases_.size();
  for (const auto& [batch, items] : finishes_sent_) n += items.size();
  for (const auto& [batch, items] : releases_sent_) n += items.size();
  return static_cast<int64_t>(n);
}

}  // namespace parkd
