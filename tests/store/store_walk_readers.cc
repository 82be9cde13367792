// The walk's readers, and the bursts that meet them.
#include <gtest/gtest.h>

#include "tests/store/store_walk.h"

namespace parkd {

using std::chrono::hours;

// One mailbox, commit after commit of messages that expire in as many periods, in no order of
// length.
void StoreWalk::burst() {
  constexpr int kCommits = 8;
  constexpr int kRetentionHours[] = {240, 1, 20, 5, 700, 2, 47, 30, 3, 60, 4, 8, 400, 100, 600, 14};
  busy_box_ = random_() % (kTenants.size() * kKeys.size());
  const std::string& tenant = kTenants[busy_box_ / kKeys.size()];
  const std::string& key = kKeys[busy_box_ % kKeys.size()];
  std::vector<JobSpec> specs;
  for (int commit = 0; commit < kCommits; ++commit) {
    for (const int n_hours : kRetentionHours) {
      JobSpec spec;
      spec.model = "burst";
      spec.tenant = tenant;
      spec.mailbox_key = key;
      spec.custom_id = std::to_string(++n_specs_);
      spec.body = "{}";
      spec.seed = 1;
      spec.retention = hours(n_hours);
      specs.push_back(spec);
    }
  }
  const auto n_jobs = static_cast<int32_t>(specs.size());
  const auto ours = store_->submit(specs);
  const auto oracles = oracle_->submit(specs);
  ASSERT_TRUE(ours.ok() && oracles.ok());
  for (size_t i = 0; i < specs.size(); ++i) {
    ASSERT_NO_FATAL_FAILURE(know({ours->at(i).id, oracles->at(i).id}, specs[i].custom_id));
  }
  const auto our_claims = store_->claim("burst", n_jobs);
  const auto oracle_claims = oracle_->claim("burst", n_jobs);
  ASSERT_EQ(text_of(our_claims, Side::ours, false), text_of(oracle_claims, Side::oracles, false));
  ASSERT_EQ(our_claims->size(), specs.size());
  is_burst_ = true;
  const auto finish = [&](StoreDriver& store, const std::vector<Job>& jobs, int commit) {
    std::vector<FinishItem> items;
    for (size_t i = 0; i < std::size(kRetentionHours); ++i) {
      const Job& job = jobs[static_cast<size_t>(commit) * std::size(kRetentionHours) + i];
      items.push_back({job.id, job.lease, {}});
    }
    ASSERT_TRUE(store.finish(std::move(items)).ok());
  };
  for (int commit = 0; commit < kCommits; ++commit) {
    ASSERT_NO_FATAL_FAILURE(finish(*store_, *our_claims, commit));
    ASSERT_NO_FATAL_FAILURE(finish(*oracle_, *oracle_claims, commit));
  }
  is_burst_ = false;
  compare_box(tenant, key);
}

void StoreWalk::follow_boxes(size_t number) {
  Reader& reader = readers_[number];
  std::mt19937_64 random(4711 + number);  // the walk's own numbers must not depend on this thread
  const size_t n_boxes = kTenants.size() * kKeys.size();
  // Every other one reads whole pages, the others small ones.
  const uint64_t limit_max = number % 2 == 0 ? 1000 : 5 * number;
  while (!has_ended_) {
    if (!is_burst_) std::this_thread::sleep_for(std::chrono::milliseconds(1));  // not all the time
    const size_t box = random() % 4 == 0 ? random() % n_boxes : busy_box_.load();
    const std::string& tenant = kTenants[box / kKeys.size()];
    const std::string& key = kKeys[box % kKeys.size()];
    const std::lock_guard lock(reader.reading);
    if (store_ == nullptr) return;  // it could not be opened again: the walk has failed
    Cursor& cursor = reader.cursors[{tenant, key}];
    const auto page =
        store_->fetch({tenant, key, cursor.at, static_cast<int32_t>(1 + random() % limit_max)});
    if (!page.ok()) reader.trouble = page.status().to_string();
    if (!page.ok()) return;
    for (const Message& message : page->messages) {
      if (message.sequence <= cursor.at) reader.trouble = "a page goes back";
      cursor.at = message.sequence;
      cursor.seen.insert(message.sequence);
    }
  }
}

// `box` is all there is in the mailbox.
void StoreWalk::check_cursor(const std::string& tenant, const std::string& key,
                             const FetchAnswer& box) {
  for (Reader& reader : readers_) {
    const std::lock_guard lock(reader.reading);
    ASSERT_EQ(reader.trouble, "");
    const Cursor& cursor = reader.cursors[{tenant, key}];
    for (const Message& message : box.messages) {
      if (message.sequence > cursor.at) break;
      ASSERT_TRUE(cursor.seen.contains(message.sequence))
          << "the cursor " << cursor.at << " of " << tenant << "/" << key << " has skipped "
          << message.sequence;
    }
  }
}

}  // namespace parkd
