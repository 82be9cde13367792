// Engine: one loaded model and the workers that run it. The dispatcher's only door to inference.
//
// Owned by the dispatcher's wiring; start(), cancel() and stats() may be called from any thread and
// never block on a step. Each request ends in exactly one call of on_result, on a worker thread,
// which must only push into an Inbox. A request that streams is heard of before that too, by
// on_tokens: nothing of it comes after its result, and the result is the same as without. The
// caller has charged the blocks a request needs before start(): the engine never refuses and never
// waits for memory (DESIGN.md, I2).
//
// Two implementations: LocalEngine (make_engine, workers on a Backend) and the scripted one of the
// dispatcher's tests.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lib/base/clock.h"
#include "lib/base/status.h"
#include "lib/base/units.h"
#include "lib/engine/generation.h"

namespace parkd {

class Backend;
struct ModelCard;

struct EngineStats {
  int64_t running_sequences = 0;
  int64_t blocks_in_use = 0;  // KV blocks referenced by live sequences
  int64_t steps = 0;
  int64_t prompt_tokens = 0;     // computed since start
  int64_t shared_tokens = 0;     // of prompts: found in the KV cache instead, since start
  int64_t blocks_cached = 0;     // not referenced, kept for what they hold
  int64_t output_tokens = 0;     // sampled since start
  int64_t steps_repeated = 0;    // since start: failed on a device that was well, and ran again
  int64_t steps_failed = 0;      // since start: failed again, so that their requests ended
  int64_t last_step_us_ago = 0;  // of the worker that is busy and quiet the longest; 0 when idle
};

class Engine {
 public:
  virtual ~Engine() = default;

  // Runs the request to its end. Requires: a prompt, none empty, each + its max_new_tokens <=
  // context, and the sum over the prompts of n_choices * ceil((prompt + max_new_tokens) /
  // block_size) free blocks on request.device.
  virtual void start(GenerationRequest request) = 0;

  // Stops the request at the next step; its result says cancelled and holds what was generated. An
  // id that is not running is ignored: its result is already on the way.
  virtual void cancel(RequestId id) = 0;

  virtual EngineStats stats() const = 0;

  // KV blocks of each device.
  virtual std::vector<Blocks> kv_blocks() const = 0;

  // Cancels everything and joins the workers. Idempotent.
  virtual void stop() = 0;
};

struct EngineOptions {
  int32_t block_size = 32;
  int32_t n_workers = 1;             // of each device
  int32_t max_num_seqs = 16;         // of each device's workers together; the caller keeps to it
  int32_t step_tokens = 512;         // token budget of one worker's step
  int32_t prefill_chunk_tokens = 0;  // longest piece of a prompt in one step; 0 = step_tokens
  bool share_prefixes = true;        // sequences of one root that begin alike share KV blocks
  size_t thread_stack_bytes = 0;
  std::function<void(GenerationResult)> on_result;
  // What a worker's step released of the requests that stream, all in one call on its thread, so
  // that a step costs one message however many listen; not called where there is nothing. May only
  // copy what it wants and push it into an Inbox: it must not block, and what a slow reader has not
  // taken is the listener's to bound. The engine does not run again a
  // request that fails: its caller may start another. May be empty where no request streams.
  std::function<void(std::span<const TokenEvent>)> on_tokens;
  // While make_engine() loads, on its thread: bytes of the weights that a device has so far; each
  // device starts anew. An error ends make_engine() with it. May be empty.
  std::function<Status(int64_t loaded_bytes)> on_loading;
};

// One of the devices that hold the whole model each.
struct EngineDevice {
  std::unique_ptr<Backend> backend;
  Blocks kv_blocks;
  // Above 0: kv_blocks is what was planned; the device gets as many as there is room for once its
  // workers' largest steps have run, and no more than these.
  Blocks kv_blocks_max = {};
  int32_t max_num_seqs = 0;  // of its workers together; 0: as EngineOptions has it
};

// For each device: loads the card's weights, runs the largest step of each worker, allocates KV
// memory and has what runs later compiled and captured; then starts the workers. Takes seconds for
// a large model: call it off the control and dispatcher threads.
Result<std::unique_ptr<Engine>> make_engine(const std::shared_ptr<const ModelCard>& card,
                                            std::vector<EngineDevice> devices,
                                            EngineOptions options);

}  // namespace parkd
