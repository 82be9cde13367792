#include "lib/engine/scheduler.h"

#include <algorithm>

#include "lib/base/check.h"

namespace parkd {
namespace {

constexpr int32_t kPromptShare = 8;  // 1/8 of a step is the waiting prompts' at least

SchedulerOptions checked(SchedulerOptions options) {
  PARKD_CHECK(options.step_tokens >= 2, "a step has room for a decode and a prompt");
  PARKD_CHECK(options.prefill_chunk_tokens >= 0, "a chunk has tokens");
  if (options.prefill_chunk_tokens == 0) options.prefill_chunk_tokens = options.step_tokens;
  return options;
}

}  // namespace

Scheduler::Scheduler(SchedulerOptions options) : options_(checked(options)) {}

BatchPlan Scheduler::plan(std::span<const SequenceProgress> sequences) const {
  std::vector<int32_t> decodes;
  std::vector<int32_t> prompts;
  for (size_t i = 0; i < sequences.size(); ++i) {
    PARKD_DCHECK(sequences[i].n_pending_tokens >= 1, "a running sequence has something to compute");
    (sequences[i].decoding ? decodes : prompts).push_back(static_cast<int32_t>(i));
  }

  const int32_t left_to_prompts =
      prompts.empty() ? 0 : std::max(1, options_.step_tokens / kPromptShare);
  const auto n_decodes_max = static_cast<size_t>(options_.step_tokens - left_to_prompts);
  if (decodes.size() > n_decodes_max) {
    std::stable_sort(decodes.begin(), decodes.end(), [&](int32_t a, int32_t b) {
      return sequences[static_cast<size_t>(a)].last_step <
             sequences[static_cast<size_t>(b)].last_step;
    });
    decodes.resize(n_decodes_max);
    std::sort(decodes.begin(), decodes.end());
  }

  BatchPlan plan;
  for (const int32_t i : decodes) plan.entries.push_back({i, 1, true});
  plan.n_tokens = static_cast<int64_t>(decodes.size());
  for (const int32_t i : prompts) {
    const int64_t pending = sequences[static_cast<size_t>(i)].n_pending_tokens;
    const int64_t n_tokens = std::min<int64_t>(
        {pending, options_.prefill_chunk_tokens, options_.step_tokens - plan.n_tokens});
    if (n_tokens == 0) break;
    plan.entries.push_back({i, static_cast<int32_t>(n_tokens), n_tokens == pending});
    plan.n_tokens += n_tokens;
  }
  return plan;
}

}  // namespace parkd
