#include "daemon/batches/batch_results.h"

#include "lib/openai/batch_output.h"

namespace parkd {
namespace {

constexpr int32_t kPageMessages = 500;

}  // namespace

ResultWalk::ResultWalk(const Batch& batch) {
  request_.tenant = batch.spec.tenant;
  request_.mailbox_key = batch.result_key();
  request_.limit = kPageMessages;
  request_.bytes_max = kResultPageBytes;
  request_.skip_damaged = true;  // who counts them says that some are missing
}

bool ResultWalk::take(const FetchAnswer& page) {
  const bool has_moved = page.next_sequence != request_.after_sequence;
  request_.after_sequence = page.next_sequence;
  return !page.is_full && !(page.damaged && has_moved);
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
