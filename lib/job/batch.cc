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

namespace {

constexpr std::string_view kBatchPrefix = "batch_";
constexpr std::string_view kFilePrefix = "file-";
constexpr size_t kIdDigits = 32;

std::string_view suffix_of(ResultKind kind) {
  return kind == ResultKind::output ? "-output" : "-errors";
}

}  // namespace

std::string result_file_id(std::string_view batch_id, ResultKind kind) {
  return std::string(kFilePrefix) + std::string(batch_id.substr(kBatchPrefix.size())) +
         std::string(suffix_of(kind));
}

std::optional<ResultName> parse_result_file_id(std::string_view id) {
  if (id.substr(0, kFilePrefix.size()) != kFilePrefix) return std::nullopt;
  id.remove_prefix(kFilePrefix.size());
  const std::string_view digits = id.substr(0, kIdDigits);
  if (digits.size() != kIdDigits ||
      digits.find_first_not_of("0123456789abcdef") != std::string_view::npos) {
    return std::nullopt;
  }
  for (const ResultKind kind : {ResultKind::output, ResultKind::errors}) {
    if (id.substr(kIdDigits) == suffix_of(kind)) {
      return ResultName{std::string(kBatchPrefix) + std::string(digits), kind};
    }
  }
  return std::nullopt;
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

std::string_view to_string(WebhookStatus status) {
  switch (status) {
    case WebhookStatus::pending:
      return "pending";
    case WebhookStatus::delivered:
      return "delivered";
    case WebhookStatus::given_up:
      return "given_up";
  }
  return "";
}

bool Batch::needs_daemon() const {
  if (!spec.file) return false;
  return progress.stage <= FileStage::expanding ||
         (progress.stage == FileStage::running && finished_at);
}

std::optional<WallTime> results_expire_at(const Batch& batch) {
  if (!batch.spec.file || !batch.spec.deadline || !batch.spec.retention) return std::nullopt;
  return *batch.spec.deadline + *batch.spec.retention;
}

BatchState Batch::state() const {
  if (finished_at) return BatchState::finished;
  if (cancel_at) return BatchState::cancelling;
  return sealed_at ? BatchState::in_progress : BatchState::open;
}

}  // namespace parkd
