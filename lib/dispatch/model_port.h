// ModelPort: everything the dispatcher needs of one loaded model.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "lib/base/status.h"
#include "lib/base/units.h"
#include "lib/engine/engine.h"
#include "lib/engine/generation.h"
#include "lib/openai/completion_response.h"
#include "lib/pool/resource_pool.h"

namespace parkd {

struct Job;

// A job ready to be priced. The dispatcher fills in request.id.
struct PreparedJob {
  GenerationRequest request;
  std::string prompt_field;  // of the body: what a prompt that is too long is in,
  std::string max_tokens_field = "max_tokens";  // and the limit on generated tokens
};

// What the body of an ending is made of. References into the caller's frame.
struct EndedRun {
  const Job& job;
  const GenerationResult& result;
  bool logprobs = false;  // they were asked for
  RunFigures figures;
};

struct ModelPort {
  Engine* engine = nullptr;     // not owned; stopped only when it was let go
                                // (Dispatcher::unload_model), or the dispatcher's loop has ended
  std::vector<PoolPart> parts;  // KV blocks and sequences at once of each of the engine's devices
  int32_t block_size = 0;       // tokens
  int32_t lot_places = 0;       // daemon.lot_jobs
  double interactive_reserve = 0;                  // limits.interactive_reserve, 0 .. 0.5
  std::chrono::seconds run_timeout_default{3600};  // limits.timeout_secs, where the job has none

  // Reads and tokenises a job's body. Runs on a blocking thread, several at a time. Errors: invalid
  // (param = field) ends the job as invalid_request; anything else counts as a failed attempt.
  std::function<Result<PreparedJob>(const Job&)> prepare;

  // The response body of a run that ended, whole or in part. Runs on a blocking thread.
  std::function<std::string(const EndedRun&)> render;
};

}  // namespace parkd
