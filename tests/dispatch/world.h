// World: a dispatcher with a store in memory, an engine played by hand and a clock that stands
// still, all on the test's thread.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "lib/dispatch/claim_plan.h"
#include "lib/dispatch/dispatcher.h"
#include "lib/store/memory/memory_store.h"
#include "tests/support/fake_engine.h"
#include "tests/support/faulty_store.h"

namespace parkd {

using std::chrono::milliseconds;
using std::chrono::seconds;

inline constexpr int32_t kBlockSize = 10;

// A job of the tests: its cost is in blocks of 10 tokens, one of them the prompt's.
inline JobSpec job_of(int64_t blocks) {
  JobSpec spec;
  spec.model = "m";
  spec.mailbox_key = "box";
  spec.body = R"({"messages":[]})";
  spec.prompt_tokens = kBlockSize;
  spec.max_new_tokens = static_cast<int32_t>(blocks - 1) * kBlockSize;
  if (blocks == 1) {
    spec.prompt_tokens = 5;
    spec.max_new_tokens = 5;
  }
  return spec;
}

// `kept`: a store that outlives this world, which is then one process of several.
class World {
 public:
  explicit World(int64_t capacity, int32_t lot_places = 8, int32_t max_num_seqs = 16,
                 DispatcherOptions options = {}, std::shared_ptr<JobStore> kept = nullptr)
      : store(kept != nullptr ? std::move(kept) : make_memory_store(store_options(), clock)),
        dispatcher(with_model(options), store, clock,
                   [](std::function<void()> task) {
                     task();
                     return true;
                   }),
        engine(kBlockSize, [this](GenerationResult r) { dispatcher.on_result(std::move(r)); }) {
    StoreObserver observer;
    observer.work_available = [this](const std::string& m) { dispatcher.work_available(m); };
    observer.cancel_requested = [this](JobId id, RunLease l) {
      dispatcher.cancel_requested(id, l);
    };
    store.set_observer(std::move(observer));
    port.engine = &engine;
    port.parts = {{Blocks{capacity}, max_num_seqs}};
    port.block_size = kBlockSize;
    port.lot_places = lot_places;
    port.prepare = prepare;
    port.render = [](const EndedRun& run) {
      return run.result.choices.empty() ? std::string("nothing") : run.result.choices[0].text;
    };
  }

  static DispatcherOptions with_model(DispatcherOptions options) {
    options.models = {"m"};
    return options;
  }

  World& ready() {
    dispatcher.model_ready("m", port);
    settle();
    return *this;
  }

  static StoreOptions store_options() {
    StoreOptions options;
    options.retention_default = std::chrono::hours(24 * 30);
    return options;
  }

  static Result<PreparedJob> prepare(const Job& job) {
    if (job.spec.body == "bad") return invalid_param("messages", "messages is missing");
    if (job.spec.body == "throws") throw std::runtime_error("scripted");
    PreparedJob prepared;
    prepared.request.prompts[0].tokens.assign(static_cast<size_t>(job.spec.prompt_tokens), 1);
    prepared.request.prompts[0].max_new_tokens = job.spec.max_new_tokens;
    prepared.request.n_choices = job.spec.n_choices;
    return prepared;
  }

  // Until nothing more happens at this moment. CHECKs I2 on the way.
  void settle() {
    for (int i = 0; dispatcher.run_once(); ++i) {
      ASSERT_LT(i, 10'000) << "the dispatcher spins";
      const ModelStats* m = dispatcher.stats()->model("m");
      if (m == nullptr || m->state != ModelState::ready) continue;
      ASSERT_LE(engine.stats().blocks_in_use, m->in_use.count) << "I2";
      ASSERT_LE(m->in_use, m->capacity) << "I2";
      ASSERT_LE(m->preparing + m->parked, m->lot_places + 1 + kSmallPlaces + kAwaitedPlaces)
          << "one is for a newcomer";
      ASSERT_LE(m->running_sequences, m->max_num_seqs);
    }
  }
  // Lets time pass, as the loop would see it.
  void pass(Micros time) {
    clock.advance(time);
    settle();
  }
  // Long enough for endings to be stored.
  void flush() { pass(milliseconds(10)); }

  // What a store does whose heartbeat was lost: the claims are free for anybody, then it says so.
  void lose_ownership() {
    store.lose_claims();
    dispatcher.ownership_lost();
    settle();
  }

  JobId submit(JobSpec spec) {
    std::optional<JobId> id;
    tenants_.insert(spec.tenant);
    store.submit({std::move(spec)}, [&](Result<std::vector<SubmittedJob>> answer) {
      ASSERT_TRUE(answer.ok()) << answer.status().to_string();
      id = answer->front().id;
    });
    settle();
    return id.value_or(0);
  }
  CancelAnswer cancel(JobId id) {
    std::optional<CancelAnswer> said;
    store.cancel(id, "", [&](Result<CancelAnswer> answer) { said = answer.value(); });
    settle();
    return *said;
  }
  JobRecord get(JobId id) {
    JobRecord record;
    store.get(id, "", [&](Result<JobRecord> answer) { record = answer.value(); });
    return record;
  }
  // The message of a finished job; fails the test when there is none.
  Message message(JobId id) {
    JobRecord record = get(id);
    if (auto* found = std::get_if<Message>(&record)) return *found;
    ADD_FAILURE() << "job " << id << " has no message";
    return {};
  }
  // Of all tenants that submitted here.
  std::vector<Message> mailbox() {
    std::vector<Message> messages;
    for (const std::string& tenant : tenants_) {
      store.fetch({tenant, "box", 0, 100'000}, [&](Result<FetchAnswer> answer) {
        for (Message& message : answer->messages) messages.push_back(std::move(message));
      });
    }
    return messages;
  }

  ModelStats model() const { return *dispatcher.stats()->model("m"); }
  std::optional<LivePhase> phase(JobId id) const {
    const auto stats = dispatcher.stats();
    const LiveJob* live = stats->find(id);
    return live == nullptr ? std::nullopt : std::optional(live->phase);
  }
  // Ends the run that was started as the n-th of all, from 0.
  void complete_nth(size_t n) {
    engine.complete(engine.started().at(n));
    settle();
  }
  // Completes all that runs, and what starts then, until nothing runs.
  void complete_all() {
    while (!engine.running().empty()) {
      for (const RequestId id : engine.running()) engine.complete(id);
      flush();
    }
    flush();
  }

  ManualClock clock{from_unix_us(1'800'000'000'000'000)};
  FaultyStore store;
  Dispatcher dispatcher;
  FakeEngine engine;
  ModelPort port;

 private:
  std::set<std::string> tenants_;
};

}  // namespace parkd
