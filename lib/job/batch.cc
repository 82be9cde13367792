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

std::string_view to_string(FileStage stage) {
  switch (stage) {
    case FileStage::validating:
      return "validating";
    case FileStage::expanding:
      return "expanding";
    case FileStage::running:
      return "running";
    case FileStage::ended:
      return "ended";
    case FileStage::failed:
      return "failed";
  }
  return "";
}

bool Batch::needs_daemon() const {
  if (!spec.file) return false;
  return progress.stage <= FileStage::expanding ||
         (progress.stage == FileStage::running && finished_at);
}

BatchState Batch::state() const {
  if (finished_at) return BatchState::finished;
  if (cancel_at) return BatchState::cancelling;
  return sealed_at ? BatchState::in_progress : BatchState::open;
}

}  // namespace parkd
