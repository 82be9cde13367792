// /v1/batches, and /v1/jobs/requeue: open, look at, seal and cancel batches; finished jobs again.
#include "daemon/api/api.h"
#include "daemon/api/request_fields.h"
#include "lib/base/json_reader.h"
#include "lib/job/bounds.h"
#include "lib/openai/batch_json.h"
#include "lib/store/client_store.h"

namespace parkd {

// Answers with the batch, or why there is none.
Completion<Batch> Api::answer_batch(const AskedPtr& asked) {
  return on_quick<Batch>(asked, [asked](Result<Batch> batch) {
    if (!batch.ok()) return asked->reply(error_reply(batch.status()));
    asked->reply({.body = render_batch(*batch)});
  });
}

void Api::requeue(const AskedPtr& asked) {
  const HttpReplier& reply = asked->reply;
  if (!asked->may_accept.ok()) return reply(error_reply(asked->may_accept));
  auto fields = RequestFields::read(*asked->request.body);
  if (!fields.ok()) return reply(error_reply(fields.status()));
  RequeueRequest requeue;
  requeue.tenant = asked->who().any_or_own();
  requeue.ids = fields->ids("ids", kRequeueIdsMax);
  requeue.error_codes = fields->texts("failed_with");
  requeue.batch_id = fields->text("batch_id");
  requeue.model = fields->text("model");
  if (const auto limit = fields->number("limit", 1, int64_t{kRequeueIdsMax})) {
    requeue.limit = static_cast<int32_t>(*limit);
  }
  if (const Status status = fields->finish(); !status.ok()) return reply(error_reply(status));
  if (requeue.batch_id.empty()) return requeue_now(asked, std::move(requeue));
  parts_.batches.get_batch(
      requeue.batch_id, requeue.tenant,
      on_quick<Batch>(asked, [this, asked, requeue](Result<Batch> batch) {
        if (batch.ok() && batch->spec.file) {
          return asked->reply(error_reply(
              409, conflict("batch " + batch->id + " is one of a file: POST /v1/batches/" +
                            batch->id + "/retry runs what did not complete")));
        }
        requeue_now(asked, requeue);
      }));
}

void Api::requeue_now(const AskedPtr& asked, RequeueRequest requeue) {
  parts_.store.requeue(
      std::move(requeue),
      on_quick<std::vector<RequeuedJob>>(asked, [asked](Result<std::vector<RequeuedJob>> jobs) {
        if (!jobs.ok()) return asked->reply(error_reply(jobs.status()));
        asked->reply({.status = 202, .body = render_requeued(*jobs)});
      }));
}

void Api::open_batch(const AskedPtr& asked) {
  const HttpReplier& reply = asked->reply;
  if (!asked->may_accept.ok()) return reply(error_reply(asked->may_accept));
  auto fields = RequestFields::read(*asked->request.body);
  if (!fields.ok()) return reply(error_reply(fields.status()));
  if (const auto file = fields->optional_text("input_file_id")) {
    return open_file_batch(asked, *file, *fields);
  }
  BatchSpec spec;
  spec.tenant = asked->who().tenant;
  spec.name = fields->text("name");
  spec.metadata = fields->object("metadata");
  spec.idempotency_key = fields->text("idempotency_key");
  spec.deadline = fields->instant("deadline");
  if (const auto s = fields->number("retention_s", 1, INT32_MAX)) {
    spec.retention = std::chrono::seconds(*s);
  }
  if (const Status status = fields->finish(); !status.ok()) return reply(error_reply(status));
  parts_.batches.open_batch(
      std::move(spec), on_quick<OpenedBatch>(asked, [asked](Result<OpenedBatch> opened) {
        if (!opened.ok()) return asked->reply(error_reply(opened.status()));
        asked->reply({.status = opened->existed ? 200 : 201, .body = render_batch(opened->batch)});
      }));
}

void Api::list_batches(const AskedPtr& asked) {
  const HttpRequest& request = asked->request;
  BatchFilter filter;
  const auto limit = query_number(request, "limit", 100, 1, kBatchesListedMax);
  if (!limit.ok()) return asked->reply(error_reply(limit.status()));
  const auto n_shown = static_cast<size_t>(*limit);
  filter.limit = static_cast<int32_t>(*limit) + 1;  // whether there are more
  if (const auto after = request.query.find("after"); after != request.query.end()) {
    filter.after = after->second;
  }
  const auto of = request.query.find("of");
  const std::string which = of == request.query.end() ? "files" : of->second;
  if (which != "files" && which != "jobs") {
    return asked->reply(error_reply(
        invalid_param("of", "of is \"" + shown_name(which) + "\", it must be files or jobs")));
  }
  filter.of_file = which == "files";
  if (const std::string own = asked->who().any_or_own(); !own.empty()) filter.tenant = own;
  parts_.batches.list_batches(
      std::move(filter),
      on_quick<std::vector<Batch>>(asked, [asked, n_shown](Result<std::vector<Batch>> batches) {
        if (!batches.ok()) return asked->reply(error_reply(batches.status()));
        const bool has_more = batches->size() > n_shown;
        if (has_more) batches->pop_back();
        asked->reply({.body = render_batches(*batches, has_more)});
      }));
}

void Api::get_batch(const AskedPtr& asked) {
  parts_.batches.get_batch(asked->part, asked->who().any_or_own(), answer_batch(asked));
}

void Api::seal_batch(const AskedPtr& asked) {
  parts_.batches.get_batch(
      asked->part, asked->who().any_or_own(),
      on_quick<Batch>(asked, [this, asked](Result<Batch> batch) {
        if (!batch.ok()) return asked->reply(error_reply(batch.status()));
        if (batch->spec.file) {
          return asked->reply(
              error_reply(conflict("batch " + batch->id +
                                   " is one of a file and is sealed with its last line: cancel it, "
                                   "or let it go on")));
        }
        parts_.batches.seal_batch(asked->part, asked->who().any_or_own(), answer_batch(asked));
      }));
}

void Api::cancel_batch(const AskedPtr& asked) {
  parts_.batches.cancel_batch(asked->part, asked->who().any_or_own(), answer_batch(asked));
  if (parts_.file_batches != nullptr) parts_.file_batches->look();
}

}  // namespace parkd
