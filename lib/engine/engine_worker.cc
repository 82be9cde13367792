#include "lib/engine/engine_worker.h"

#include <algorithm>
#include <utility>

#include "lib/base/check.h"
#include "lib/base/kill_point.h"
#include "lib/base/log.h"

namespace parkd {
namespace {

using std::chrono::steady_clock;

// No device that is well fails so often in a row: what else would end there may do better in the
// process that comes next. Above the attempts of a job that fails wherever it runs.
constexpr int32_t kFailedInARowMax = 8;

int64_t steady_us() {
  const auto now = steady_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::microseconds>(now).count();
}

int64_t expected_tokens(const GenerationPrompt& prompt) {
  return static_cast<int64_t>(prompt.tokens.size()) + prompt.max_new_tokens;
}

int64_t expected_tokens(const GenerationRequest& request) {
  int64_t n_tokens = 0;
  for (const GenerationPrompt& prompt : request.prompts) n_tokens += expected_tokens(prompt);
  return request.n_choices * n_tokens;
}

Status check_prompt(const GenerationPrompt& prompt, const ModelShape& shape) {
  if (prompt.tokens.empty()) return invalid_param("prompt", "the prompt has no tokens");
  if (prompt.max_new_tokens < 1) {
    return invalid_param("max_tokens", "max_tokens is " + std::to_string(prompt.max_new_tokens) +
                                           ", the least is 1");
  }
  const int64_t n_tokens = expected_tokens(prompt);
  if (n_tokens > shape.context_tokens) {
    return invalid_param("max_tokens", "prompt and max_tokens are " + std::to_string(n_tokens) +
                                           " tokens, the context is " +
                                           std::to_string(shape.context_tokens));
  }
  for (const TokenId token : prompt.tokens) {
    if (token < 0 || token >= shape.vocab) {
      return invalid_param("prompt", "token " + std::to_string(token) +
                                         " is outside the vocabulary of " +
                                         std::to_string(shape.vocab));
    }
  }
  return {};
}

}  // namespace

EngineWorker::EngineWorker(WorkerOptions options, const Model& model, KvCache& kv_cache,
                           std::unique_ptr<Lane> lane, ModelBuffers buffers)
    : options_(std::move(options)),
      model_(model),
      kv_cache_(kv_cache),
      scheduler_({options_.step_tokens, options_.prefill_chunk_tokens}),
      lane_(std::move(lane)),
      buffers_(buffers) {
  thread_ = Thread({options_.name, options_.thread_stack_bytes}, [this] {
    const EngineThread mark;
    run();
  });
}

void EngineWorker::start(GenerationRequest request) {
  PARKD_CHECK(!request.stream || options_.on_tokens, "who streams is listened to");
  const RequestId id = request.id;
  const int64_t load = expected_tokens(request);
  load_tokens_.fetch_add(load, std::memory_order_relaxed);
  if (inbox_.push(std::move(request))) return;
  load_tokens_.fetch_sub(load, std::memory_order_relaxed);
  GenerationResult result;
  result.id = id;
  result.status = unavailable("the engine is stopping");
  options_.on_result(std::move(result));
}

void EngineWorker::cancel(RequestId id) {
  inbox_.push(id);
}

WorkerStats EngineWorker::stats() const {
  WorkerStats stats;
  stats.running_sequences = running_sequences_.load(std::memory_order_relaxed);
  stats.steps = steps_.load(std::memory_order_relaxed);
  stats.prompt_tokens = prompt_tokens_.load(std::memory_order_relaxed);
  stats.shared_tokens = shared_tokens_.load(std::memory_order_relaxed);
  stats.output_tokens = output_tokens_.load(std::memory_order_relaxed);
  stats.steps_repeated = steps_repeated_.load(std::memory_order_relaxed);
  stats.steps_failed = steps_failed_.load(std::memory_order_relaxed);
  const int64_t last = last_progress_us_.load(std::memory_order_relaxed);
  if (last != 0) stats.quiet_us = std::max<int64_t>(0, steady_us() - last);
  return stats;
}

void EngineWorker::stop() {
  inbox_.close();
  thread_.join();
}

void EngineWorker::run() {
  while (!inbox_.closed()) {
    take(running_.empty() ? inbox_.wait_all() : inbox_.take_all());
    if (!running_.empty()) {
      if (last_progress_us_.load(std::memory_order_relaxed) == 0) last_progress_us_ = steady_us();
      step();
    }
    last_progress_us_.store(running_.empty() ? 0 : steady_us(), std::memory_order_relaxed);
  }
  take(inbox_.take_all());
  while (steps_under_way_ > 0 && !device_lost_) collect_step();
  finish_all(Status());
}

void EngineWorker::take(std::vector<Command> commands) {
  for (Command& command : commands) {
    if (auto* request = std::get_if<GenerationRequest>(&command)) {
      admit(std::move(*request));
    } else {
      cancel_running(std::get<RequestId>(command));
    }
  }
}

// The caller checked all of this; a request that slipped through fails alone.
Status EngineWorker::check(const GenerationRequest& request) const {
  const ModelShape& shape = model_.shape();
  if (device_lost_) return *device_lost_;
  if (request.n_choices < 1) {
    return invalid_param("n", "n is " + std::to_string(request.n_choices) + ", the least is 1");
  }
  if (request.prompts.empty()) return invalid_param("prompt", "there is no prompt");
  for (const GenerationPrompt& prompt : request.prompts) {
    PARKD_RETURN_IF_ERROR(check_prompt(prompt, shape));
  }
  for (const TokenBias& bias : request.sampling.logit_bias) {
    if (bias.token < 0 || bias.token >= shape.vocab) {
      return invalid_param("logit_bias", "token " + std::to_string(bias.token) +
                                             " is outside the vocabulary of " +
                                             std::to_string(shape.vocab));
    }
  }
  return {};
}

void EngineWorker::refuse(const GenerationRequest& request, Status status) {
  GenerationResult result;
  result.id = request.id;
  result.status = std::move(status);
  result.prompt_tokens = prompt_tokens_of(request);
  load_tokens_.fetch_sub(expected_tokens(request), std::memory_order_relaxed);
  options_.on_result(std::move(result));
}

void EngineWorker::admit(GenerationRequest request) {
  if (Status status = check(request); !status.ok()) {
    refuse(request, std::move(status));
    return;
  }
  auto running = std::make_unique<RunningRequest>();
  running->load_left_tokens = expected_tokens(request);
  running->request = std::move(request);
  const GenerationRequest& kept = running->request;
  const int32_t n_sequences = n_sequences_of(kept);
  running->sequences.reserve(static_cast<size_t>(n_sequences));
  for (int32_t i = 0; i < n_sequences; ++i) {
    const GenerationPrompt& prompt = kept.prompts[static_cast<size_t>(i / kept.n_choices)];
    const Blocks charge{ceil_div(expected_tokens(prompt), kv_cache_.block_size_tokens())};
    running->sequences.emplace_back(kept, i, kv_cache_.reserve(charge, kept.prefix_root));
  }
  running_sequences_.fetch_add(n_sequences, std::memory_order_relaxed);
  running_.push_back(std::move(running));
}

void EngineWorker::cancel_running(RequestId id) {
  const auto it = std::find_if(running_.begin(), running_.end(),
                               [id](const auto& running) { return running->request.id == id; });
  if (it == running_.end()) return;
  (*it)->cancelled = true;
  finish_ended();
}

void EngineWorker::step() {
  const bool begun = begin_step();
  const int32_t steps_ahead = begun && !repeating_ ? lane_->steps_ahead() : 0;
  if (steps_under_way_ > steps_ahead) collect_step();
  finish_ended();
}

// False when nothing can be computed before the step under way is collected.
bool EngineWorker::begin_step() {
  const BatchPlan plan = plan_step();
  if (plan.entries.empty()) return false;
  Step& step = steps_ring_[next_step_];
  next_step_ = (next_step_ + 1) % steps_ring_.size();
  ++steps_under_way_;
  fill(step, plan);
  compute(step);
  return true;
}

BatchPlan EngineWorker::plan_step() {
  candidates_.clear();
  std::vector<SequenceProgress> progress;
  for (const auto& running : running_) {
    if (running->cancelled || !running->failure.ok()) continue;
    for (Sequence& sequence : running->sequences) {
      if (!sequence.wants_step()) continue;
      // The choices of a prompt: the first computes it, the others share.
      if (waits_for_prompt(*running, sequence)) continue;
      if (static_cast<int32_t>(candidates_.size()) == options_.max_num_seqs) break;
      share_prefix(*running, sequence);
      candidates_.push_back({running.get(), &sequence});
      progress.push_back(sequence.progress());
    }
  }
  return scheduler_.plan(progress);
}

bool EngineWorker::waits_for_prompt(const RunningRequest& running, const Sequence& sequence) const {
  const auto choice = (&sequence - running.sequences.data()) % running.request.n_choices;
  const Sequence& first = *(&sequence - choice);
  return choice > 0 && kv_cache_.shares_prefixes() &&
         first.n_prompt() > kv_cache_.block_size_tokens() && !first.has_prompt() &&
         !first.finished();
}

void EngineWorker::share_prefix(RunningRequest& running, Sequence& sequence) {
  const int64_t before = sequence.n_shared();
  sequence.share_prefix();
  const int64_t n_tokens = sequence.n_shared() - before;
  if (n_tokens == 0) return;
  running.load_left_tokens -= n_tokens;
  load_tokens_.fetch_sub(n_tokens, std::memory_order_relaxed);
  shared_tokens_.fetch_add(n_tokens, std::memory_order_relaxed);
}

void EngineWorker::fill(Step& step, const BatchPlan& plan) {
  step.members.clear();
  step.tokens.clear();
  step.sequences.clear();
  step.logit_rows.clear();
  step.sample_rows.clear();
  const int64_t this_step = steps_.load(std::memory_order_relaxed) + 1;
  steps_.store(this_step, std::memory_order_relaxed);
  const Time now = steady_clock::now();
  for (const BatchPlan::Entry& entry : plan.entries) {
    StepMember member = candidates_[static_cast<size_t>(entry.sequence)];
    member.n_tokens = entry.n_tokens;
    member.sample = entry.sample;
    member.decoding = member.sequence->progress().decoding;
    if (!member.running->first_step) member.running->first_step = now;
    const auto first_row = static_cast<int32_t>(step.tokens.size());
    const auto context = static_cast<int32_t>(member.sequence->n_computed());
    member.sequence->begin_step(entry.n_tokens, this_step, step.tokens);
    step.sequences.push_back({first_row, entry.n_tokens, context, member.sequence->block_table()});
    step.members.push_back(member);
    if (!entry.sample) continue;
    const auto logit_row = static_cast<int32_t>(step.logit_rows.size());
    step.logit_rows.push_back(static_cast<int32_t>(step.tokens.size()) - 1);
    step.sample_rows.push_back(member.sequence->begin_sample(logit_row));
  }
}

void EngineWorker::compute(Step& step) {
  model_.forward(*lane_, buffers_, {step.tokens, step.sequences, step.logit_rows});
  for (const StepMember& member : step.members) {
    if (member.decoding) {
      PARKD_KILL_POINT("engine.mid_decode");
    } else {
      PARKD_KILL_POINT("engine.mid_prefill");
    }
  }
  if (step.sample_rows.empty()) {
    lane_->end_step();
  } else {
    lane_->sample(buffers_.logits, step.sample_rows);
  }
}

void EngineWorker::collect_step() {
  const auto under_way = static_cast<size_t>(steps_under_way_);
  const Step& step =
      steps_ring_[(next_step_ + steps_ring_.size() - under_way) % steps_ring_.size()];
  --steps_under_way_;
  sampled_.assign(step.sample_rows.size(), {});
  Status status = lane_->collect(sampled_);
  for (const StepMember& member : step.members) {
    const GenerationRequest& request = member.running->request;
    if (PARKD_POISON_POINT(request.sampling.seed, member.sequence->n_generated())) {
      status = unavailable("a poison prompt of a test");
    }
  }
  if (!status.ok()) return fail_steps(step, status);
  apply(step);
}

// `step` is the oldest of those that will never be collected.
void EngineWorker::fail_steps(const Step& step, const Status& status) {
  steps_under_way_ = 0;
  if (status.code() == StatusCode::internal) return repeat_steps(step, status);
  if (status.code() == StatusCode::exhausted) {
    log_error(
        "engine.out_of_memory",
        {{"worker", options_.name}, {"requests", running_.size()}, {"error", status.message()}});
    repeating_ = false;
    return finish_all(status);
  }
  lose_device(status);
}

// From the last step that was applied. Until one is, no step is begun ahead of another, so that who
// ends by a second failure had a part in it.
void EngineWorker::repeat_steps(const Step& step, const Status& why) {
  for (const auto& running : running_) {
    for (Sequence& sequence : running->sequences) sequence.forget_steps();
  }
  repeating_ = !repeating_;
  if (repeating_) {
    steps_repeated_.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  steps_failed_.fetch_add(1, std::memory_order_relaxed);
  log_error(
      "engine.step_failed",
      {{"worker", options_.name}, {"sequences", step.members.size()}, {"error", why.message()}});
  const Status failure = internal_error("a step failed twice: " + why.message());
  for (const StepMember& member : step.members) member.running->failure = failure;
  if (++n_failed_in_a_row_ < kFailedInARowMax) return;
  lose_device(why);
}

void EngineWorker::lose_device(const Status& why) {
  device_lost_ = unavailable("the device was lost: " + why.message());
  log_error("engine.device_lost",
            {{"worker", options_.name}, {"requests", running_.size()}, {"error", why.message()}});
  finish_all(*device_lost_);
}

void EngineWorker::apply(const Step& step) {
  repeating_ = false;
  n_failed_in_a_row_ = 0;
  size_t next_sampled = 0;
  for (const StepMember& member : step.members) {
    if (!member.decoding) prompt_tokens_.fetch_add(member.n_tokens, std::memory_order_relaxed);
    member.running->load_left_tokens -= member.n_tokens;
    load_tokens_.fetch_sub(member.n_tokens, std::memory_order_relaxed);
    member.sequence->end_step(member.n_tokens);
    if (member.sample) {
      append_sampled(*member.running, *member.sequence, std::move(sampled_[next_sampled++]));
    }
  }
  tell_events();
}

void EngineWorker::append_sampled(RunningRequest& running, Sequence& sequence,
                                  SampledToken sampled) {
  // The step was begun before its end, or its neighbour's failure, was seen.
  if (sequence.finished() || !running.failure.ok()) return sequence.drop_sampled();
  if (sampled.token < 0 || sampled.token >= model_.shape().vocab) {
    running.failure = internal_error("the model gave no finite logits at position " +
                                     std::to_string(sequence.n_known()));
    return;
  }
  running.last_token = steady_clock::now();
  if (!running.first_token) running.first_token = running.last_token;
  output_tokens_.fetch_add(1, std::memory_order_relaxed);
  const std::string_view bytes = options_.token_bytes(sampled.token);
  sequence.append(std::move(sampled), bytes);
  if (running.request.stream) note_event(sequence);
}

void EngineWorker::note_event(Sequence& sequence) {
  if (const auto event = sequence.take_event()) events_.push_back(*event);
}

void EngineWorker::tell_events() {
  if (events_.empty()) return;
  options_.on_tokens(events_);
  events_.clear();
}

}  // namespace parkd
