#include "daemon/batches/batch_steps.h"

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

#include "daemon/batches/batch_results.h"
#include "daemon/batches/portion.h"
#include "daemon/health/disk_room.h"
#include "daemon/models/job_check.h"
#include "lib/base/kill_point.h"
#include "lib/base/log.h"
#include "lib/openai/batch_file.h"
#include "lib/openai/batch_output.h"
#include "lib/store/batch_rules.h"
#include "lib/store/client_store.h"
#include "lib/store/wait_for.h"

namespace parkd {
namespace {

// PostgreSQL shows no message behind a commit that is still open: so long all are waited for.
constexpr std::chrono::minutes kShownWithin{2};
constexpr auto kPiece = static_cast<int64_t>(kFilePieceBytes);

// Whether a file is not what it was any more, so that trying again is of no use.
bool is_lost(const Status& status) {
  return status.code() == StatusCode::not_found || status.code() == StatusCode::corrupt;
}

// Whether no waiting helps: the batch is sealed, over, full, or a key of its lines is another's.
bool is_refusal(const Status& status) {
  return status.code() == StatusCode::conflict || status.code() == StatusCode::invalid;
}

// A failure of another kind than a lost file's, whatever its code.
Status later(const Status& status) {
  return is_lost(status) ? unavailable(status.to_string()) : status;
}

BatchFileRules rules_of(const Batch& batch, const Config& config) {
  BatchFileRules rules;
  rules.endpoint = batch.spec.file->endpoint;
  rules.lines_max = config.daemon.max_batch_jobs;
  rules.body_bytes_max = static_cast<size_t>(config.daemon.max_body_bytes);
  return rules;
}

// What a client is told whose file cannot be read to its end.
BatchFault unreadable(const Batch& batch, const Status& status) {
  const std::string& file = batch.spec.file->input_file_id;
  if (status.code() == StatusCode::not_found) {
    return {"file_not_found", "the input file " + file + " is gone: it was deleted or has expired",
            "input_file_id", 0};
  }
  return {"file_damaged",
          "the input file " + file + " cannot be read (" + status.message() + "): upload it again",
          "input_file_id", 0};
}

// A model that is not served here. Where daemons share the queue another may have it.
std::optional<BatchFault> unknown_model(const std::string& model, const ModelTable& models,
                                        const Config& config) {
  if (models.contains(model) || config.queue.backend == StoreBackend::postgres) return {};
  return BatchFault{std::string(kModelNotFound), "there is no model \"" + model + "\" here",
                    "body.model", 0};
}

void add(BatchUsage& sum, const BatchUsage& more) {
  sum.input += more.input;
  sum.cached += more.cached;
  sum.output += more.output;
  sum.reasoning += more.reasoning;
}

FileProgress failed(FileProgress progress, std::vector<BatchFault> faults) {
  progress.stage = FileStage::failed;
  progress.faults = std::move(faults);
  return progress;
}

BatchFault results_gone(const std::string& retried) {
  return {
      "results_gone",
      "the results of " + retried + " are gone, and with them which of its requests were answered",
      "", 0};
}

}  // namespace

Result<Batch> BatchSteps::take(const Batch& batch, std::shared_ptr<const ModelTable> models) {
  FileProgress progress = batch.progress;
  if (progress.stage <= FileStage::expanding && batch.sealed_at) {
    progress.stage = FileStage::running;  // it was cancelled, or its deadline has passed
    return store(batch, std::move(progress));
  }
  switch (progress.stage) {
    case FileStage::validating: {
      PARKD_ASSIGN_OR_RETURN(progress, batch.spec.file->retried_from.empty()
                                           ? checked_file(batch, *models)
                                           : checked_retry(batch));
      PARKD_KILL_POINT("batch.validated");
      return store(batch, std::move(progress));
    }
    case FileStage::expanding:
      return expanded(batch, std::move(models));
    case FileStage::running: {
      PARKD_ASSIGN_OR_RETURN(progress, counted(batch));
      PARKD_KILL_POINT("batch.counted");
      return store(batch, std::move(progress));
    }
    case FileStage::ended:
    case FileStage::failed:
      break;
  }
  return batch;
}

// --- validation

Result<FileProgress> BatchSteps::checked_file(const Batch& batch, const ModelTable& models) {
  FileProgress progress = batch.progress;
  BatchFileCheck check(rules_of(batch, parts_.config));
  for (int64_t n = 0; !check.is_done(); ++n) {
    const auto piece = wait_for<std::string>([&](auto done) {
      parts_.files.read_piece(batch.spec.file->input_file_id, batch.spec.tenant, n, done);
    });
    if (is_lost(piece.status())) return failed(progress, {unreadable(batch, piece.status())});
    if (!piece.ok()) return piece.status();
    if (piece->empty()) break;
    PARKD_RETURN_IF_ERROR(check.feed(*piece));
    if (parts_.stopping) return unavailable("the daemon stops");
  }
  PARKD_ASSIGN_OR_RETURN(BatchFileFindings found, check.finish());
  if (!found.faults.empty()) return failed(progress, std::move(found.faults));
  if (auto fault = unknown_model(found.model, models, parts_.config)) {
    return failed(progress, {std::move(*fault)});
  }
  progress.stage = FileStage::expanding;
  progress.model = std::move(found.model);
  progress.lines = found.n_lines;
  return progress;
}

Result<FileProgress> BatchSteps::checked_retry(const Batch& batch) {
  FileProgress progress = batch.progress;
  const std::string& retried = batch.spec.file->retried_from;
  const auto answered = answered_before(batch);
  if (is_lost(answered.status())) return failed(progress, {results_gone(retried)});
  if (!answered.ok()) return answered.status();
  PARKD_ASSIGN_OR_RETURN(const Batch before, find(retried, batch.spec.tenant));
  progress.stage = FileStage::expanding;
  progress.model = before.progress.model;
  progress.lines = std::max(before.progress.lines, before.total) - before.completed;
  return progress;
}

Result<const BatchSteps::Ids*> BatchSteps::answered_before(const Batch& batch) {
  if (answered_for_ == batch.id) return &answered_;
  Ids ids;
  for (std::string id = batch.spec.file->retried_from; !id.empty();) {
    PARKD_ASSIGN_OR_RETURN(const Batch before, find(id, batch.spec.tenant));
    if (!before.spec.file) return not_of_a_file(id);
    int64_t n_answered = 0;
    ResultWalk walk(before);
    for (bool is_last = false; !is_last;) {
      PARKD_ASSIGN_OR_RETURN(const FetchAnswer page, fetch(walk));
      for (const Message& message : page.messages) {
        if (message.batch_id != before.id || !is_output_line(message)) continue;
        ids.insert(message.custom_id);
        ++n_answered;
      }
      is_last = walk.take(page);
    }
    if (n_answered < before.completed) return not_found("results of " + id + " are gone");
    id = before.spec.file->retried_from;
  }
  answered_ = std::move(ids);
  answered_for_ = batch.id;
  return &answered_;
}

// --- expansion

Result<Batch> BatchSteps::expanded(const Batch& batch, std::shared_ptr<const ModelTable> models) {
  FileProgress progress = batch.progress;
  const Ids* answered = nullptr;
  if (!batch.spec.file->retried_from.empty()) {
    const auto before = answered_before(batch);
    if (!before.ok() && !is_lost(before.status())) return before.status();
    if (!before.ok()) {
      progress.faults.push_back(results_gone(batch.spec.file->retried_from));
      progress.stage = FileStage::running;
      return store(batch, std::move(progress));
    }
    answered = *before;
  }
  PARKD_RETURN_IF_ERROR(check_disk_room(parts_.config, 0));
  Portion portion(batch, parts_.config, std::move(models));
  const Status read = read_lines(batch, progress.reached, [&](const CutLine& line) -> Result<bool> {
    if (parts_.stopping) return unavailable("the daemon stops");
    PARKD_ASSIGN_OR_RETURN(LineRequest request, read_line_request(line.text, {}));
    if (answered == nullptr || !answered->contains(request.custom_id)) {
      portion.add(std::move(request), line);
    }
    return !portion.is_full();
  });
  if (!read.ok() && !is_lost(read)) return read;
  const bool is_rest = !read.ok() || !portion.is_full();
  if (!portion.is_empty()) {
    const auto reached = portion.submit(parts_.store);
    if (is_refusal(reached.status())) return refused(batch, reached.status());
    if (!reached.ok()) return later(reached.status());
    PARKD_KILL_POINT("batch.portion_submitted");
    progress.reached = *reached;
  }
  if (is_rest && portion.is_empty()) {
    progress.stage = FileStage::running;
    if (!read.ok()) {
      // Its members run; of what comes behind them nothing is known any more.
      progress.faults.push_back(unreadable(batch, read));
      log_error("batches.not_expanded", {{"batch", batch.id}, {"error", read.to_string()}});
    }
  }
  return store(batch, std::move(progress));
}

// The batch takes no more, or another job has the key of one of its lines.
Result<Batch> BatchSteps::refused(const Batch& batch, const Status& conflict) {
  PARKD_ASSIGN_OR_RETURN(const Batch now, find(batch.id, batch.spec.tenant));
  FileProgress progress = now.progress;
  progress.stage = FileStage::running;
  if (!now.sealed_at && parts_.clock.now() < *now.spec.deadline) {
    progress.faults.push_back({"line_not_queued", conflict.message(), conflict.param(), 0});
    log_error("batches.not_expanded", {{"batch", batch.id}, {"error", conflict.to_string()}});
  }
  return store(batch, std::move(progress));
}

Status BatchSteps::read_lines(const Batch& batch, int64_t from, const LineVisitor& visit) {
  LineCutter lines(rules_of(batch, parts_.config).line_bytes_max(), from);
  for (int64_t n = from / kPiece, skipped = from % kPiece;; ++n, skipped = 0) {
    PARKD_ASSIGN_OR_RETURN(const std::string piece, wait_for<std::string>([&](auto done) {
                             parts_.files.read_piece(batch.spec.file->input_file_id,
                                                     batch.spec.tenant, n, done);
                           }));
    if (piece.empty()) {
      lines.end();
    } else {
      lines.feed(
          std::string_view(piece).substr(std::min(static_cast<size_t>(skipped), piece.size())));
    }
    while (const auto line = lines.next()) {
      PARKD_ASSIGN_OR_RETURN(const bool goes_on, visit(*line));
      if (!goes_on) return {};
    }
    if (piece.empty()) return {};
  }
}

// --- results

Result<FetchAnswer> BatchSteps::fetch(const ResultWalk& walk) {
  return wait_for<FetchAnswer>(
      [&](auto done) { parts_.store.fetch(walk.request(), std::move(done)); });
}

Result<FileProgress> BatchSteps::counted(const Batch& batch) {
  FileProgress progress = batch.progress;
  progress.output = {0, 0, progress.output.deleted};
  progress.errors = {0, 0, progress.errors.deleted};
  progress.usage = {};
  bool is_damaged = false;
  ResultWalk walk(batch);
  for (bool is_last = false; !is_last;) {
    if (parts_.stopping) return unavailable("the daemon stops");
    PARKD_ASSIGN_OR_RETURN(const FetchAnswer page, fetch(walk));
    for (const ResultKind kind : {ResultKind::output, ResultKind::errors}) {
      const ResultLines lines = result_lines(batch, kind, page);
      progress.of(kind).lines += lines.n_lines;
      progress.of(kind).bytes += static_cast<int64_t>(lines.text.size());
    }
    for (const Message& message : page.messages) {
      if (message.batch_id == batch.id) add(progress.usage, usage_of(message));
    }
    is_damaged |= page.damaged.has_value();
    is_last = walk.take(page);
  }
  const int64_t missing = batch.ended() - progress.output.lines - progress.errors.lines;
  const SteadyTime now = parts_.clock.steady_now();
  const SteadyTime since = missing_since_.try_emplace(batch.id, now).first->second;
  if (missing > 0 && !is_damaged && now < since + kShownWithin) {
    return unavailable(std::to_string(missing) + " results of " + batch.id + " cannot be seen yet");
  }
  missing_since_.erase(batch.id);
  if (missing > 0) {
    progress.faults.push_back({"results_damaged",
                               std::to_string(missing) +
                                   " results cannot be read and are in neither file: their bytes "
                                   "are damaged, or they were deleted",
                               "", 0});
    log_error("batches.results_missing", {{"batch", batch.id}, {"results", missing}});
  }
  progress.stage = FileStage::ended;
  return progress;
}

Status BatchSteps::drop_results(const Batch& batch) {
  ResultWalk walk(batch);
  for (bool is_last = false; !is_last;) {
    PARKD_ASSIGN_OR_RETURN(const FetchAnswer page, fetch(walk));
    std::vector<uint64_t> sequences;
    for (const Message& message : page.messages) {
      if (message.batch_id == batch.id) sequences.push_back(message.sequence);
    }
    if (!sequences.empty()) {
      PARKD_RETURN_IF_ERROR(wait_for<std::vector<Message>>([&](auto done) {
                              parts_.store.take(batch.spec.tenant, batch.result_key(),
                                                std::move(sequences), std::move(done));
                            }).status());
    }
    is_last = walk.take(page);
  }
  return {};
}

Result<Batch> BatchSteps::find(const std::string& id, const std::string& tenant) {
  return wait_for<Batch>([&](auto done) { parts_.batches.get_batch(id, tenant, std::move(done)); });
}

Result<Batch> BatchSteps::store(const Batch& batch, FileProgress progress) {
  return wait_for<Batch>([&](auto done) {
    parts_.batches.advance_batch(batch.id, std::move(progress), std::move(done));
  });
}

}  // namespace parkd
