// EngineWorker: one thread, one Lane, its own sequences. It loops plan -> forward -> sample ->
// append, and sleeps in its inbox when it has nothing to run.
//
// On a lane that can be a step ahead (a GPU) it begins the next step before it collects the last
// one, so the device never waits for the host: the tokens it has not seen are fed back on the
// device, a sequence that ends is noticed one step late, and that step's token is dropped. Requests
// and blocks stay until no step that knows them is under way.
//
// Owned by LocalEngine. start(), cancel(), load_tokens() and stats() may be called from any thread.
// A request that fails ends alone, with a Status, and the worker goes on. Steps that fail on a
// device that is well are forgotten and computed again, one at a time; if one fails again its
// requests end as internal, and the worker goes on. A lane that has lost its device, or on which
// many steps in a row failed so, is used no more: every request of the worker, and every later one,
// ends as unavailable. One that was short of memory ends what the worker runs, as exhausted, and
// goes on.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "lib/base/inbox.h"
#include "lib/base/status.h"
#include "lib/base/thread.h"
#include "lib/engine/generation.h"
#include "lib/engine/kv_cache.h"
#include "lib/engine/scheduler.h"
#include "lib/engine/sequence.h"
#include "lib/model/backend.h"
#include "lib/model/model.h"

namespace parkd {

// The bytes a token adds to the text; none for a control token. Called on all workers' threads.
using TokenBytes = std::function<std::string_view(TokenId)>;

struct WorkerOptions {
  std::string name;
  int32_t step_tokens = 512;
  int32_t prefill_chunk_tokens = 0;  // 0 = step_tokens
  int32_t max_num_seqs = 16;         // in one step; the youngest above it wait
  size_t thread_stack_bytes = 0;
  TokenBytes token_bytes;
  std::function<void(GenerationResult)> on_result;
  std::function<void(std::span<const TokenEvent>)> on_tokens;
};

struct WorkerStats {
  int64_t running_sequences = 0;
  int64_t steps = 0;
  int64_t prompt_tokens = 0;
  int64_t shared_tokens = 0;
  int64_t output_tokens = 0;
  int64_t steps_repeated = 0;  // failed, and were computed again
  int64_t steps_failed = 0;    // failed again: their requests ended
  int64_t quiet_us = 0;        // since the last step ended, or since work came; 0 when idle
};

class EngineWorker {
 public:
  // Starts the thread. `model` and `kv_cache` must outlive the worker; `buffers` are the lane's.
  EngineWorker(WorkerOptions options, const Model& model, KvCache& kv_cache,
               std::unique_ptr<Lane> lane, ModelBuffers buffers);
  ~EngineWorker() { stop(); }
  EngineWorker(const EngineWorker&) = delete;
  EngineWorker& operator=(const EngineWorker&) = delete;

  // As Engine::start. After stop() the result comes on the calling thread, as unavailable.
  void start(GenerationRequest request);
  void cancel(RequestId id);

  // Tokens its requests may still cost at most, those in the inbox included.
  int64_t load_tokens() const { return load_tokens_.load(std::memory_order_relaxed); }
  WorkerStats stats() const;

  // Ends every request as cancelled and joins the thread. Idempotent; one thread.
  void stop();

 private:
  using Time = std::chrono::steady_clock::time_point;
  using Command = std::variant<GenerationRequest, RequestId>;  // start it; cancel it

  struct RunningRequest {
    GenerationRequest request;
    std::vector<Sequence> sequences;  // refer to `request`
    bool cancelled = false;           // ends as soon as no step knows it
    Status failure;                   // not ok: the same
    int64_t load_left_tokens = 0;     // its part of load_tokens_
    std::optional<Time> first_step;
    std::optional<Time> first_token;
    Time last_token;
  };

  // One sequence's part in a step.
  struct StepMember {
    RunningRequest* running = nullptr;
    Sequence* sequence = nullptr;
    int32_t n_tokens = 0;
    bool sample = false;
    bool decoding = false;
  };
  // A step that was begun; what the lane reads lives here until it is collected.
  struct Step {
    std::vector<StepMember> members;
    std::vector<TokenId> tokens;
    std::vector<StepSequence> sequences;
    std::vector<int32_t> logit_rows;
    std::vector<SampleRow> sample_rows;
  };

  void run();
  void take(std::vector<Command> commands);
  void admit(GenerationRequest request);
  void cancel_running(RequestId id);

  void step();
  bool begin_step();
  BatchPlan plan_step();
  bool waits_for_prompt(const RunningRequest& running, const Sequence& sequence) const;
  void share_prefix(RunningRequest& running, Sequence& sequence);
  void fill(Step& step, const BatchPlan& plan);
  void compute(Step& step);
  void collect_step();
  void apply(const Step& step);
  void append_sampled(RunningRequest& running, Sequence& sequence, SampledToken sampled);
  void fail_steps(const Step& step, const Status& status);
  void repeat_steps(const Step& step, const Status& why);
  void lose_device(const Status& why);
  void note_event(Sequence& sequence);
  void tell_events();

  void finish_ended();
  void finish_all(const Status& status);
  void finish(std::unique_ptr<RunningRequest> running, Status status);
  void refuse(const GenerationRequest& request, Status status);
  Status check(const GenerationRequest& request) const;

  // Constant after construction.
  const WorkerOptions options_;
  const Model& model_;
  KvCache& kv_cache_;
  const Scheduler scheduler_;

  Inbox<Command> inbox_;

  // Counters, for load_tokens() and stats(): the worker's thread adds, anybody reads.
  std::atomic<int64_t> load_tokens_{0};
  std::atomic<int64_t> running_sequences_{0};
  std::atomic<int64_t> steps_{0};
  std::atomic<int64_t> prompt_tokens_{0};
  std::atomic<int64_t> shared_tokens_{0};
  std::atomic<int64_t> output_tokens_{0};
  std::atomic<int64_t> steps_repeated_{0};
  std::atomic<int64_t> steps_failed_{0};
  std::atomic<int64_t> last_progress_us_{0};  // steady clock; 0 = idle

  // The worker's thread only.
  std::unique_ptr<Lane> lane_;
  const ModelBuffers buffers_;
  std::vector<std::unique_ptr<RunningRequest>> running_;  // in order of arrival
  std::optional<Status> device_lost_;
  bool repeating_ = false;         // from a failure until a step is applied or fails again
  int32_t n_failed_in_a_row_ = 0;  // steps, none applied between them

  // Steps begun and not collected are the last `steps_under_way_` up to next_step_; the array only
  // reuses their memory.
  std::array<Step, 2> steps_ring_;
  size_t next_step_ = 0;
  int32_t steps_under_way_ = 0;
  std::vector<StepMember> candidates_;  // sequences the plan's entries index
  std::vector<SampledToken> sampled_;
  std::vector<TokenEvent> events_;  // of the step that is applied, or the request that ends

  Thread thread_;  // last: it uses all of the above
};

}  // namespace parkd
