// POST /v1/batches with an input_file_id, and retries: batches of files, as OpenAI's API has them.
#include <algorithm>
#include <charconv>
#include <utility>

#include "daemon/api/api.h"
#include "daemon/api/request_fields.h"
#include "lib/base/json_reader.h"
#include "lib/job/bounds.h"
#include "lib/job/endpoints.h"
#include "lib/openai/batch_json.h"
#include "lib/store/file_rules.h"

namespace parkd {
namespace {

// "24h". Errors: invalid (param "completion_window").
Result<std::chrono::hours> read_window(const std::string& text) {
  int64_t hours = 0;
  const char* end = text.data() + text.size();
  const auto [behind, error] = std::from_chars(text.data(), end, hours);
  const bool is_hours =
      error == std::errc() && end - behind == 1 && *behind == 'h' && text.front() != '0';
  if (is_hours && hours >= kCompletionWindowMin.count() && hours <= kCompletionWindowMax.count()) {
    return std::chrono::hours(hours);
  }
  return invalid_param("completion_window", "completion_window is \"" + shown_name(text) +
                                                "\", it must be whole hours from 1h to " +
                                                std::to_string(kCompletionWindowMax.count()) + "h");
}

Status check_endpoint(const std::string& endpoint) {
  std::string known;
  for (const auto& one : kEndpoints) {
    if (one.path == endpoint) return {};
    known += (known.empty() ? "" : ", ") + std::string(one.path);
  }
  return invalid_param("endpoint",
                       "endpoint is \"" + shown_name(endpoint) + "\", it must be one of " + known);
}

// Whether its tenant may have its end told there. Errors: invalid (param webhook_url).
Status check_webhook(const BatchSpec& spec, const DaemonConfig& config) {
  static_assert(kUrlBytesMax == kWebhookUrlBytesMax);
  if (spec.file->webhook_url.empty()) return {};
  return webhook_of(config.webhooks, spec.tenant, spec.file->webhook_url).status();
}

// Whether a batch can be run again now, in part. Errors: with the status of the HTTP answer.
std::optional<HttpReply> why_no_retry(const Batch& batch, WallTime now) {
  if (!batch.spec.file) {
    return error_reply(invalid("batch " + batch.id +
                               " is none of a file: POST /v1/jobs/requeue runs its jobs again"));
  }
  if (batch.progress.stage == FileStage::failed) {
    return error_reply(invalid("the file of batch " + batch.id +
                               " was refused and none of it ran: mend it, and open a new batch"));
  }
  if (batch.progress.stage != FileStage::ended) {
    return error_reply(409, conflict("batch " + batch.id + " has not ended yet"));
  }
  if (batch.progress.lines == 0) {
    return error_reply(409, conflict("batch " + batch.id +
                                     " ended before its file was read: open a new one of it"));
  }
  if (std::max(batch.progress.lines, batch.total) == batch.completed) {
    return error_reply(409, conflict("all requests of batch " + batch.id + " completed"));
  }
  if (!batch.keeps_results() || *results_expire_at(batch) <= now) {
    return error_reply(410, not_found("the results of batch " + batch.id +
                                      " are gone, and with them which of its requests completed"));
  }
  return std::nullopt;
}

}  // namespace

void Api::open_file_batch(const AskedPtr& asked, const std::string& file_id,
                          RequestFields& fields) {
  const HttpReplier& reply = asked->reply;
  BatchSpec spec;
  spec.tenant = asked->who().tenant;
  spec.metadata = fields.pairs("metadata");
  spec.retention = fields.file_life("output_expires_after");
  spec.idempotency_key =
      fields.optional_text("idempotency_key").value_or(asked->request.idempotency_key);
  spec.file.emplace();
  spec.file->input_file_id = file_id;
  spec.file->endpoint = fields.text("endpoint");
  spec.file->completion_window = fields.text("completion_window");
  spec.file->webhook_url = fields.text("webhook_url");
  if (const Status status = fields.finish(); !status.ok()) return reply(error_reply(status));
  if (const Status status = check_endpoint(spec.file->endpoint); !status.ok()) {
    return reply(error_reply(status));
  }
  const auto window = read_window(spec.file->completion_window);
  if (!window.ok()) return reply(error_reply(window.status()));
  if (const Status status = check_webhook(spec, parts_.config.daemon); !status.ok()) {
    return reply(error_reply(status));
  }
  spec.deadline = parts_.clock.now() + *window;
  if (!has_files(asked)) return;
  parts_.files->keep_file(
      file_id, spec.tenant, *spec.deadline,
      on_quick<StoredFile>(asked, [this, asked, spec](const Result<StoredFile>& file) {
        if (!file.ok()) {
          Status status = file.status();
          return asked->reply(error_reply(status.with_param("input_file_id")));
        }
        open_checked(asked, spec);
      }));
}

void Api::open_checked(const AskedPtr& asked, BatchSpec spec) {
  parts_.batches.open_batch(std::move(spec),
                            on_quick<OpenedBatch>(asked, [this, asked](Result<OpenedBatch> opened) {
                              if (!opened.ok()) return asked->reply(error_reply(opened.status()));
                              parts_.file_batches->look();
                              asked->reply({.body = render_batch(opened->batch)});
                            }));
}

void Api::retry_batch(const AskedPtr& asked) {
  const HttpReplier& reply = asked->reply;
  if (!asked->may_accept.ok()) return reply(error_reply(asked->may_accept));
  auto fields = RequestFields::read(*asked->request.body);
  if (!fields.ok()) return reply(error_reply(fields.status()));
  const auto max_tokens = fields->number("max_tokens", 1, INT32_MAX);
  const auto metadata = fields->pairs("metadata");
  const auto window_text = fields->optional_text("completion_window");
  const auto webhook_url = fields->optional_text("webhook_url");  // "": none
  const auto key = fields->optional_text("idempotency_key");
  if (const Status status = fields->finish(); !status.ok()) return reply(error_reply(status));
  if (!has_files(asked)) return;
  const auto on_batch = [=, this](Result<Batch> before) {
    if (!before.ok()) return asked->reply(error_reply(before.status()));
    if (auto refusal = why_no_retry(*before, parts_.clock.now())) {
      return asked->reply(std::move(*refusal));
    }
    BatchSpec spec = before->spec;
    if (!metadata.empty()) spec.metadata = metadata;
    spec.idempotency_key = key.value_or(asked->request.idempotency_key);
    spec.file->retried_from = before->id;
    if (max_tokens) spec.file->max_tokens = static_cast<int32_t>(*max_tokens);
    if (webhook_url) spec.file->webhook_url = *webhook_url;
    if (Status status = check_webhook(spec, parts_.config.daemon); !status.ok()) {
      return asked->reply(error_reply(status));
    }
    if (window_text) spec.file->completion_window = *window_text;
    const auto window = read_window(spec.file->completion_window);
    if (!window.ok()) return asked->reply(error_reply(window.status()));
    spec.deadline = parts_.clock.now() + *window;
    parts_.files->keep_file(
        spec.file->input_file_id, spec.tenant, *spec.deadline,
        on_quick<StoredFile>(asked, [this, asked, spec](const Result<StoredFile>& file) {
          if (file.ok()) return open_checked(asked, spec);
          if (file.status().code() != StatusCode::not_found) {
            return asked->reply(error_reply(file.status()));
          }
          asked->reply(error_reply(
              410, not_found("input file " + spec.file->input_file_id +
                             " is gone, and with it what failed: upload it again and open a new "
                             "batch")));
        }));
  };
  parts_.batches.get_batch(asked->part, asked->who().tenant, on_quick<Batch>(asked, on_batch));
}

}  // namespace parkd
