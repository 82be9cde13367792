#include "daemon/batches/batch_results.h"

#include <algorithm>

#include "lib/openai/batch_output.h"

namespace parkd {
namespace {

// Before anything is known of a batch's messages: with log-probabilities each may have megabytes.
constexpr int32_t kFirstPage = 4;
constexpr int32_t kLargestPage = 500;

}  // namespace

ResultWalk::ResultWalk(const Batch& batch) {
  request_.tenant = batch.spec.tenant;
  request_.mailbox_key = batch.result_key();
  request_.limit = kFirstPage;
  request_.skip_damaged = true;  // who counts them says that some are missing
}

bool ResultWalk::take(const FetchAnswer& page) {
  const bool is_full = page.messages.size() >= static_cast<size_t>(request_.limit);
  const bool has_moved = page.next_sequence != request_.after_sequence;
  request_.after_sequence = page.next_sequence;
  size_t bytes = 1;
  for (const Message& message : page.messages) bytes += message.ending.body.size();
  const size_t fit = kResultPageBytes * page.messages.size() / bytes;
  // It grows in steps, for the next ones may be larger than those that were seen.
  const auto most = static_cast<size_t>(std::min(4 * request_.limit, kLargestPage));
  request_.limit = static_cast<int32_t>(std::clamp(fit, size_t{1}, most));
  return !is_full && !(page.damaged && has_moved);
}

ResultLines result_lines(const Batch& batch, ResultKind kind, const FetchAnswer& page,
                         uint64_t through) {
  ResultLines lines;
  for (const Message& message : page.messages) {
    // Others' jobs may name the same mailbox key.
    if (message.batch_id != batch.id || message.sequence > through) continue;
    if (is_output_line(message) != (kind == ResultKind::output)) continue;
    lines.text += render_batch_line(message);
    ++lines.n_lines;
  }
  return lines;
}

}  // namespace parkd
