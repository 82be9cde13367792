#include "tests/crash/kills_world.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <iostream>

#include "lib/base/text.h"
#include "tools/jobctl/json_fields.h"

namespace parkd::testing {
namespace {

using jobctl::find;
using jobctl::number_at;
using std::chrono::steady_clock;

constexpr int kKillsInCi = 20;
constexpr int kKillsLong = 1000;
constexpr auto kHungAfter = std::chrono::minutes(5);

int kills_wanted() {
  if (const char* kills = std::getenv("PARKD_KILLS")) return std::atoi(kills);
  return std::getenv("PARKD_LONG") != nullptr ? kKillsLong : kKillsInCi;
}

uint64_t new_seed() {
  const char* given = std::getenv("PARKD_SEED");
  const uint64_t seed =
      given != nullptr ? std::strtoull(given, nullptr, 10) : random_u64() % 1'000'000;
  std::cout << "seed " << seed << "\n" << std::flush;
  return seed;
}

Clients::Options with(Clients::Options options, uint64_t seed,
                      const std::vector<DaemonProcess*>& daemons) {
  options.seed = seed;
  for (const DaemonProcess* daemon : daemons) options.sockets.push_back(daemon->socket());
  return options;
}

}  // namespace

KillWorld::KillWorld(std::vector<DaemonProcess*> daemons, Clients::Options options)
    : seed_(new_seed()),
      random_(seed_),
      daemons_(std::move(daemons)),
      clients_(account_, with(std::move(options), seed_, daemons_)) {}

bool KillWorld::wait_until(const std::string& what, const std::function<bool()>& holds) {
  const auto give_up = steady_clock::now() + kHungAfter;
  while (!holds()) {
    if (steady_clock::now() > give_up) {
      ADD_FAILURE() << "waited in vain for " << what;
      return false;
    }
    ::usleep(2000);
  }
  return true;
}

bool KillWorld::progress(int64_t n_ended) {
  const Account::Counts before = account_.counts();
  return wait_until("jobs to be accepted and to end", [&] {
    const Account::Counts now = account_.counts();
    return now.ended >= before.ended + n_ended && now.acknowledged > before.acknowledged;
  });
}

// One daemon, or two of many; while it works, or before it has said that it lives.
bool KillWorld::kill_some() {
  std::vector<DaemonProcess*> victims = {daemons_[random_() % daemons_.size()]};
  if (daemons_.size() > 2 && random_() % 4 == 0) {
    DaemonProcess* const second = daemons_[random_() % daemons_.size()];
    if (second != victims.front()) victims.push_back(second);
  }
  if (!progress(1 + static_cast<int64_t>(random_() % 12))) return false;
  ::usleep(static_cast<useconds_t>(random_() % 30'000));
  const bool under_load = account_.counts().open > 0;
  for (DaemonProcess* victim : victims) victim->kill();
  kills_ += static_cast<int>(victims.size());
  under_load_ += under_load ? static_cast<int>(victims.size()) : 0;
  if (victims.size() > 1) ++of_two_;
  // The others go on without it for a while.
  if (victims.size() < daemons_.size() && random_() % 3 == 0 && !progress(4)) return false;
  if (random_() % 6 == 0) {
    victims.front()->launch();
    ::usleep(static_cast<useconds_t>(random_() % 200'000));
    victims.front()->kill();
    ++kills_;
    ++at_start_;
  }
  for (DaemonProcess* victim : victims) {
    if (victim->start()) continue;
    ADD_FAILURE() << "a daemon did not start again:\n" << victim->log().substr(0, 4000);
    return false;
  }
  return true;
}

bool KillWorld::wait_until_all_has_ended() {
  const auto client = daemons_.front()->client();
  std::string left;
  const bool ended = wait_until("all jobs to end", [&] {
    const auto jobs = client->get("/v1/jobs");
    if (!jobs.ok() || jobs->status != 200) return false;
    left = jobs->text;
    return find(jobs->json, "jobs")->get_array().empty() && account_.counts().open == 0;
  });
  if (!ended) account_.found(Fault::leaked, "jobs that do not end: " + left.substr(0, 2000));
  return ended;
}

bool KillWorld::run() {
  const int wanted = kills_wanted();
  clients_.start();
  int told = 0;
  while (kills_ < wanted) {
    if (!kill_some()) return false;
    if (kills_ / 50 == told) continue;
    told = kills_ / 50;
    const Account::Counts counts = account_.counts();
    std::cout << kills_ << " kills, " << counts.acknowledged << " jobs, "
              << account_.findings().size() << " findings\n"
              << std::flush;
  }
  clients_.stop();
  if (!wait_until_all_has_ended()) return false;
  clients_.stop_readers();
  return true;
}

Truth KillWorld::read_everything() {
  std::vector<std::string> sockets;
  for (const DaemonProcess* daemon : daemons_) sockets.push_back(daemon->socket());
  Truth truth;
  for (const Box& box : clients_.boxes()) {
    HttpDoor door(sockets, box.tenant, 0);
    for (uint64_t after = 0;;) {
      const auto page = door.fetch(box.key, after, 1000, 0);
      if (page.said != Said::done) {
        account_.found(Fault::lost, "a mailbox cannot be read: " + page.why);
        break;
      }
      if (page.value.messages.empty()) break;
      truth.messages.insert(truth.messages.end(), page.value.messages.begin(),
                            page.value.messages.end());
      after = page.value.next;
    }
  }
  HttpDoor door(sockets, "", 0);
  for (const int64_t id : account_.jobs()) {
    const auto outcome = door.outcome_of(id);
    if (outcome.said == Said::done) truth.outcomes[id] = outcome.value;
  }
  for (const std::string& batch : account_.batches()) {
    const auto row = door.batch(batch);
    if (row.said == Said::done) truth.batches[batch] = row.value;
  }
  return truth;
}

void KillWorld::judge() {
  account_.judge(read_everything());
  for (const DaemonProcess* daemon : daemons_) {
    const auto client = daemon->client();
    std::string pool;
    const bool free = wait_until("the units to come back", [&] {
      const auto answer = client->get("/v1/pool");
      if (!answer.ok() || answer->status != 200) return false;
      pool = answer->text;
      int64_t held = number_at(answer->json, "unstored_endings");
      for (const auto& model : find(answer->json, "models")->get_array()) {
        for (const char* what :
             {"in_use_units", "preparing", "parked", "running", "running_sequences", "ending"}) {
          held += number_at(model, what);
        }
      }
      return held == 0;
    });
    if (!free) account_.found(Fault::leaked, "a daemon at rest holds " + pool);
  }
}

void KillWorld::report(const std::string& store) const {
  const Account::Counts counts = account_.counts();
  const auto faults = account_.faults();
  std::printf(
      "KILLS %-10s seed %llu | kills %d (under load %d, at start %d, two at once %d) | "
      "acknowledged "
      "%lld in doubt %lld ended %lld taken %lld takes in doubt %lld cancelled %lld missed %lld "
      "requeued %lld batches %lld pages %lld | lost %lld doubled %lld skipped %lld leaked %lld "
      "wrong "
      "%lld\n",
      store.c_str(), static_cast<unsigned long long>(seed_), kills_, under_load_, at_start_,
      of_two_, static_cast<long long>(counts.acknowledged), static_cast<long long>(counts.in_doubt),
      static_cast<long long>(counts.ended), static_cast<long long>(counts.taken),
      static_cast<long long>(counts.takes_in_doubt), static_cast<long long>(counts.cancelled),
      static_cast<long long>(counts.missed), static_cast<long long>(counts.requeued),
      static_cast<long long>(counts.batches), static_cast<long long>(counts.pages),
      static_cast<long long>(faults[0]), static_cast<long long>(faults[1]),
      static_cast<long long>(faults[2]), static_cast<long long>(faults[3]),
      static_cast<long long>(faults[4]));
  std::fflush(stdout);
  for (const std::string& finding : account_.findings()) ADD_FAILURE() << finding;
  EXPECT_GT(under_load_ + at_start_, kills_ / 2);
  EXPECT_GT(counts.taken, 0);
  EXPECT_GT(counts.cancelled, 0);
  EXPECT_GT(counts.requeued, 0);
  EXPECT_GT(counts.batches, 0);
  EXPECT_GT(counts.texts, kContents / 2) << "answers tell jobs apart";
}

}  // namespace parkd::testing
