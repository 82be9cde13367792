// /v1/jobs: submit, get, list, cancel.

#include <algorithm>

#include "daemon/api/admission.h"
#include "daemon/api/api.h"
#include "daemon/models/job_check.h"
#include "daemon/models/unserved_models.h"
#include "lib/base/json_memory.h"
#include "lib/base/json_reader.h"
#include "lib/base/json_writer.h"
#include "lib/openai/request_options.h"
#include "lib/openai/submit.h"
#include "lib/openai/wire.h"
#include "lib/store/client_store.h"

namespace parkd {
namespace {

// A field of job i, as its submitter wrote it.
Status in_job(Status status, size_t i, bool many) {
  if (!many || status.param().empty()) return status;
  std::string param = "jobs[" + std::to_string(i) + "]." + status.param();
  return std::move(status.with_param(std::move(param)));
}

Result<ParsedSubmit> read_submit(const SubmitCheck& check, ReceivedBody& body) {
  const std::shared_ptr<ByteBudget::Charge> charge = body.charge();
  SubmitLimits limits;
  limits.jobs_max = static_cast<size_t>(check.config.daemon.max_batch_jobs);
  limits.body_bytes_max = static_cast<size_t>(check.config.daemon.max_body_bytes);
  limits.grow = charged_to(charge);
  std::string text = body.take();
  PARKD_ASSIGN_OR_RETURN(ParsedSubmit parsed, parse_submit(text, limits));
  // The jobs stay, with about the bytes that came; then each body is read by itself.
  const size_t kept_bytes = text.size() + parsed.jobs.size() * sizeof(JobSpec);
  text = {};
  charge->shrink_to(kept_bytes);
  size_t body_bytes_max = 0;
  for (const JobSpec& job : parsed.jobs) body_bytes_max = std::max(body_bytes_max, job.body.size());
  PARKD_RETURN_IF_ERROR(limits.grow(json_memory_bytes_max(body_bytes_max)));
  for (size_t i = 0; i < parsed.jobs.size(); ++i) {
    if (Status status = check_job(check, parsed.jobs[i]); !status.ok()) {
      return in_job(std::move(status), i, parsed.many);
    }
  }
  charge->shrink_to(kept_bytes);
  return parsed;
}

std::string render_submitted(const SubmittedJob& job) {
  return parkd::render_submitted(job.id, job.mailbox_key, job.existed, job.finished);
}

std::string render_submitted(const std::vector<SubmittedJob>& jobs, bool many) {
  if (!many) return render_submitted(jobs.front());
  JsonWriter json;
  json.begin_object().begin_array("jobs");
  for (const SubmittedJob& job : jobs) json.element(RawJson{render_submitted(job)});
  return json.end_array().end_object().take();
}

std::string render_live(const Job& job, const DispatcherStats& stats, const Config& config,
                        const ModelTable& models) {
  const LiveJob* live = stats.find(job.id);
  if (live == nullptr) {
    const bool waits = job.state == JobState::queued;
    return render_job(job, to_string(job.state), -1,
                      waits ? unserved_reason(config, models, job.spec.model) : "");
  }
  const int64_t units = live->phase == LivePhase::preparing ? -1 : live->units.count;
  return render_job(job, to_string(live->phase), units, live->waits_for);
}

}  // namespace

void Api::submit(const AskedPtr& asked) {
  const HttpReplier& reply = asked->reply;
  if (const Status may = may_submit(parts_.config, *asked); !may.ok()) {
    return reply(error_reply(may));
  }
  const SubmitCheck check{parts_.config, asked->models, asked->who()};
  auto parsed = read_submit(check, *asked->request.body);
  if (!parsed.ok()) return reply(error_reply(parsed.status()));
  const bool many = parsed->many;
  parts_.store.submit(
      std::move(parsed->jobs),
      on_quick<std::vector<SubmittedJob>>(asked, [asked,
                                                  many](Result<std::vector<SubmittedJob>> answer) {
        if (!answer.ok()) {
          return asked->reply(error_reply(many ? answer.status() : without_index(answer.status())));
        }
        asked->reply({.status = 202, .body = render_submitted(*answer, many)});
      }));
}

void Api::get_job(const AskedPtr& asked) {
  const auto id = read_job_id(asked->part);
  if (!id.ok()) return asked->reply(error_reply(id.status()));
  parts_.store.get(*id, asked->who().any_or_own(),
                   on_quick<JobRecord>(asked, [this, id = *id, asked](Result<JobRecord> record) {
                     const HttpReplier& reply = asked->reply;
                     if (!record.ok()) return reply(error_reply(record.status()));
                     if (const auto* job = std::get_if<Job>(&*record)) {
                       return reply({.body = render_live(*job, *parts_.dispatcher.stats(),
                                                         parts_.config, *asked->models)});
                     }
                     if (const auto* message = std::get_if<Message>(&*record)) {
                       return reply({.body = render_message(*message)});
                     }
                     if (const auto* row = std::get_if<HistoryRow>(&*record)) {
                       return reply({.body = render_history(*row)});
                     }
                     reply(error_reply(no_such_job(id)));
                   }));
}

void Api::cancel_job(const AskedPtr& asked) {
  const auto id = read_job_id(asked->part);
  if (!id.ok()) return asked->reply(error_reply(id.status()));
  parts_.store.cancel(*id, asked->who().any_or_own(),
                      on_quick<CancelAnswer>(asked, [id = *id, asked](Result<CancelAnswer> answer) {
                        const HttpReplier& reply = asked->reply;
                        if (!answer.ok()) return reply(error_reply(answer.status()));
                        const auto say = [&](const char* word) {
                          reply({.body = render_cancel(id, word)});
                        };
                        switch (*answer) {
                          case CancelAnswer::cancelled:
                            return say("cancelled");
                          case CancelAnswer::cancel_requested:
                            return say("cancel_requested");
                          case CancelAnswer::already_finished:
                            return say("already_finished");
                          case CancelAnswer::cancelling:
                            return say("cancelling");
                          case CancelAnswer::not_found:
                            return reply(error_reply(no_such_job(id)));
                        }
                      }));
}

void Api::list_jobs(const AskedPtr& asked) {
  const HttpRequest& request = asked->request;
  const HttpReplier& reply = asked->reply;
  ListFilter filter;
  const auto limit = query_number(request, "limit", 100, 1, kJobsListedMax);
  if (!limit.ok()) return reply(error_reply(limit.status()));
  filter.limit = static_cast<int32_t>(*limit);
  const auto after = query_number(request, "after", 0, 0, INT64_MAX);
  if (!after.ok()) return reply(error_reply(after.status()));
  filter.after = static_cast<JobId>(*after);
  if (const std::string own = asked->who().any_or_own(); !own.empty()) filter.tenant = own;
  for (const auto& [name, text] :
       {std::pair("model", &filter.model), std::pair("batch_id", &filter.batch_id),
        std::pair("mailbox_key", &filter.mailbox_key), std::pair("custom_id", &filter.custom_id)}) {
    if (const auto given = request.query.find(name); given != request.query.end()) {
      *text = given->second;
    }
  }
  if (const auto state = request.query.find("state"); state != request.query.end()) {
    const auto parsed = parse_job_state(state->second);
    if (!parsed.ok()) return reply(error_reply(parsed.status()));
    filter.state = *parsed;
  }
  parts_.store.list(
      filter, on_quick<ListAnswer>(asked, [this, asked, after = *after](Result<ListAnswer> page) {
        if (!page.ok()) return asked->reply(error_reply(page.status()));
        const std::vector<Job>& jobs = page->jobs;
        const auto stats = parts_.dispatcher.stats();
        const auto last = jobs.empty() ? static_cast<JobId>(after) : jobs.back().id;
        JsonWriter json;
        json.begin_object().begin_array("jobs");
        for (const Job& job : jobs) {
          json.element(RawJson{render_live(job, *stats, parts_.config, *asked->models)});
        }
        json.end_array().member("next_after", page->next_after.value_or(last));
        json.member("has_more", page->next_after.has_value());
        asked->reply({.body = json.end_object().take()});
      }));
}

}  // namespace parkd
