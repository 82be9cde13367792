#include "lib/job/batch.h"

namespace parkd {

std::string_view to_string(BatchState state) {
  switch (state) {
    case BatchState::open:
      return "open";
    case BatchState::in_progress:
      return "in_progress";
    case BatchState::cancelling:
      return "cancelling";
    case BatchState::finished:
      return "finished";
  }
  return "";
}

BatchState Batch::state() const {
  if (finished_at) return BatchState::finished;
  if (cancel_at) return BatchState::cancelling;
  return sealed_at ? BatchState::in_progress : BatchState::open;
}

}  // namespace parkd
