#include "daemon/api/metrics.h"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <limits>
#include <utility>
#include <vector>

namespace parkd {
namespace {

using Labels = std::vector<std::pair<std::string, std::string>>;

class Page {
 public:
  prometheus::ClientMetric& add(prometheus::MetricType type, const std::string& name,
                                const std::string& help, const Labels& labels) {
    if (families_.empty() || families_.back().name != name) {
      prometheus::MetricFamily family;
      family.name = name;
      family.help = help;
      family.type = type;
      families_.push_back(std::move(family));
    }
    auto& metric = families_.back().metric.emplace_back();
    for (const auto& [key, value] : labels) {
      prometheus::ClientMetric::Label label;
      label.name = key;
      label.value = value;
      metric.label.push_back(std::move(label));
    }
    return metric;
  }

  void gauge(const std::string& name, const std::string& help, const Labels& labels, double value) {
    add(prometheus::MetricType::Gauge, name, help, labels).gauge.value = value;
  }

  void counter(const std::string& name, const std::string& help, const Labels& labels,
               double value) {
    add(prometheus::MetricType::Counter, name, help, labels).counter.value = value;
  }

  std::string text() const { return prometheus::TextSerializer().Serialize(families_); }

 private:
  std::vector<prometheus::MetricFamily> families_;
};

// Families stand together in the format, so each goes over all models before the next begins.
void add_queue(Page& page, const StoreStats& store, WallTime now) {
  for (const ModelDepth& model : store.models) {
    const auto depth = [&](const char* state, int64_t count) {
      page.gauge("parkd_queue_depth", "Live jobs by state",
                 {{"model", model.model}, {"state", state}}, static_cast<double>(count));
    };
    depth("scheduled", model.scheduled);
    depth("queued", model.queued);
    depth("claimed", model.claimed);
  }
  for (const ModelDepth& model : store.models) {
    const double age_s = model.oldest_created_at
                             ? std::chrono::duration<double>(now - *model.oldest_created_at).count()
                             : 0;
    page.gauge("parkd_queue_oldest_age_seconds", "Age of the oldest queued job",
               {{"model", model.model}}, age_s);
  }
}

void add_store(Page& page, const StoreStats& store) {
  page.gauge("parkd_mailbox_messages", "Messages in the mailbox", {},
             static_cast<double>(store.messages));
  page.counter("parkd_store_fsyncs_total", "Synced commits since the start", {},
               static_cast<double>(store.syncs));
  page.counter("parkd_store_commits_total", "Commits since the start", {},
               static_cast<double>(store.commits));
  page.gauge("parkd_store_open_epoch", "Which opening (PostgreSQL: registration) this is", {},
             static_cast<double>(store.open_epoch));
  page.gauge("parkd_store_fence_epoch",
             "PostgreSQL: grows when the server is not the one it was (restart, promotion)", {},
             static_cast<double>(store.fence_epoch));
  page.counter("parkd_store_sessions_opened_total",
               "PostgreSQL: sessions of the queue opened since the start; above six: reconnects",
               {}, static_cast<double>(store.sessions));
  page.counter("parkd_store_uncertain_finishes_total",
               "PostgreSQL: finishes sent again because their answer was lost", {},
               static_cast<double>(store.uncertain_finishes));
  page.gauge("parkd_store_undelivered_messages", "Messages that wait for the mailbox's database",
             {}, static_cast<double>(store.undelivered_messages));
  page.gauge("parkd_webhooks_pending",
             "Ends of batches that are to be told to webhooks; of many, 1000", {},
             static_cast<double>(store.webhooks_pending));
  page.gauge("parkd_store_healthy", "1 while the store takes commits", {}, store.healthy ? 1 : 0);
}

void add_pool(Page& page, const DispatcherStats& stats) {
  struct Figure {
    const char* name;
    const char* help;
    bool counts;
    double (*of)(const ModelStats&);
  };
  const std::vector<Figure> figures = {
      {"parkd_model_ready", "1 when the model is loaded", false,
       [](const ModelStats& m) { return m.state == ModelState::ready ? 1.0 : 0.0; }},
      {"parkd_jobs_parked", "Jobs waiting for units or a sequence slot", false,
       [](const ModelStats& m) { return double(m.parked); }},
      {"parkd_jobs_running", "Jobs in the engine", false,
       [](const ModelStats& m) { return double(m.running); }},
      {"parkd_units_in_use", "KV blocks charged", false,
       [](const ModelStats& m) { return double(m.in_use.count); }},
      {"parkd_units_capacity", "KV blocks in all", false,
       [](const ModelStats& m) { return double(m.capacity.count); }},
      {"parkd_sequences_in_use", "Sequence slots of running jobs", false,
       [](const ModelStats& m) { return double(m.running_sequences); }},
      {"parkd_sequences_capacity", "Sequence slots in all", false,
       [](const ModelStats& m) { return double(m.max_num_seqs); }},
      {"parkd_units_kept", "Of the KV blocks: for callers that wait (interactive_reserve)", false,
       [](const ModelStats& m) { return double(m.reserve.units.count); }},
      {"parkd_units_kept_in_use", "Of these: charged", false,
       [](const ModelStats& m) { return double(m.reserve.units_in_use.count); }},
      {"parkd_sequences_kept", "Of the sequence slots: for callers that wait", false,
       [](const ModelStats& m) { return double(m.reserve.sequences); }},
      {"parkd_sequences_kept_in_use", "Of these: taken", false,
       [](const ModelStats& m) { return double(m.reserve.sequences_in_use); }},
      {"parkd_jobs_started_of_kept_total", "Jobs that started with units or slots that are kept",
       true, [](const ModelStats& m) { return double(m.started_of_kept); }},
      {"parkd_prompt_tokens_total", "Prompt tokens of finished jobs", true,
       [](const ModelStats& m) { return double(m.prompt_tokens); }},
      {"parkd_shared_tokens_total",
       "Prompt tokens of finished jobs' choices that the KV cache held already", true,
       [](const ModelStats& m) { return double(m.shared_tokens); }},
      {"parkd_output_tokens_total", "Output tokens of finished jobs", true,
       [](const ModelStats& m) { return double(m.output_tokens); }},
      {"parkd_steps_repeated_total",
       "Steps that failed on a device that was well, and were computed again", true,
       [](const ModelStats& m) { return double(m.steps_repeated); }},
      {"parkd_steps_failed_total",
       "Of these: steps that failed again, so that their jobs' runs ended", true,
       [](const ModelStats& m) { return double(m.steps_failed); }},
      {"parkd_leases_lost_total", "Results that another run had made void", true,
       [](const ModelStats& m) { return double(m.leases_lost); }},
      {"parkd_jobs_given_back_total",
       "Parked jobs given back to the queue, for tenants with fewer places in the lot", true,
       [](const ModelStats& m) { return double(m.given_back); }},
      {"parkd_jobs_claimed_small_total", "Jobs claimed past a lot full of larger ones", true,
       [](const ModelStats& m) { return double(m.claimed_small); }},
      {"parkd_jobs_claimed_awaited_total", "Jobs claimed past others, as their callers wait", true,
       [](const ModelStats& m) { return double(m.claimed_awaited); }},
      {"parkd_units_passed_total", "KV blocks of jobs that started past a larger one held before",
       true, [](const ModelStats& m) { return double(m.passed_units); }},
      {"parkd_attempts_retried_total", "Runs that failed and will run again", true,
       [](const ModelStats& m) { return double(m.retried); }},
  };
  for (const Figure& figure : figures) {
    for (const ModelStats& model : stats.models) {
      const auto type =
          figure.counts ? prometheus::MetricType::Counter : prometheus::MetricType::Gauge;
      auto& metric = page.add(type, figure.name, figure.help, {{"model", model.model}});
      (figure.counts ? metric.counter.value : metric.gauge.value) = figure.of(model);
    }
  }
}

void add_outcomes(Page& page, const DispatcherStats& stats) {
  for (const ModelStats& model : stats.models) {
    for (const auto& [outcome, count] : model.outcomes) {
      const size_t colon = outcome.find(':');
      page.counter("parkd_jobs_finished_total", "Finished jobs by outcome and failure code",
                   {{"model", model.model},
                    {"outcome", outcome.substr(0, colon)},
                    {"code", colon == std::string::npos ? "" : outcome.substr(colon + 1)}},
                   static_cast<double>(count));
    }
  }
  for (const ModelStats& model : stats.models) {
    auto& metric =
        page.add(prometheus::MetricType::Histogram, "parkd_finish_latency_seconds",
                 "From submit (or run_at) to the stored result", {{"model", model.model}});
    uint64_t cumulative = 0;
    for (size_t i = 0; i < model.finish_latency.size(); ++i) {
      cumulative += static_cast<uint64_t>(model.finish_latency[i]);
      prometheus::ClientMetric::Bucket bucket;
      bucket.cumulative_count = cumulative;
      bucket.upper_bound = i < kFinishLatencyBoundsSeconds.size()
                               ? kFinishLatencyBoundsSeconds[i]
                               : std::numeric_limits<double>::infinity();
      metric.histogram.bucket.push_back(bucket);
    }
    metric.histogram.sample_count = cumulative;
    metric.histogram.sample_sum = model.finish_latency_sum_s;
  }
}

void add_devices(Page& page, const ModelTable& models) {
  for (const auto& [name, model] : models) {
    if (model.backend.empty()) continue;
    page.gauge("parkd_model_backend", "1; what the model runs on is a label",
               {{"model", name}, {"backend", model.backend}}, 1);
  }
  for (const auto& [name, model] : models) {
    page.gauge("parkd_model_files_differ",
               "1 when other daemons answer under its name from other files, so that this one does "
               "not claim for it",
               {{"model", name}}, model.files_differ ? 1 : 0);
  }
  for (const auto& [name, model] : models) {
    page.gauge("parkd_model_device_refused",
               "1 when the self-check at load found a CUDA device not to answer as the CPU does: "
               "the CPU is used",
               {{"model", name}}, model.device_refused ? 1 : 0);
  }
}

void add_degraded(Page& page, const ModelTable& models) {
  for (const auto& [name, model] : models) {
    page.gauge("parkd_model_degraded",
               "1 when a CUDA device that is there is used less well than configured, or not at "
               "all; /v1/models says why",
               {{"model", name}}, model.degraded.empty() ? 0 : 1);
  }
}

void add_memory(Page& page, const ModelTable& models, int64_t budget_bytes, WallTime now) {
  page.gauge("parkd_memory_budget_bytes", "Main memory that loaded models may take", {},
             static_cast<double>(budget_bytes));
  const auto each = [&](auto add) {
    for (const auto& [name, model] : models) add(model, Labels{{"model", name}});
  };
  each([&](const ModelEntry& model, const Labels& labels) {
    page.gauge("parkd_model_memory_bytes",
               "Of main memory: weights, KV cache and buffers of steps; 0 while it is not loaded",
               labels, model.stay.in_memory ? static_cast<double>(model.memory.total()) : 0);
  });
  each([&](const ModelEntry& model, const Labels& labels) {
    page.gauge("parkd_model_waiting_seconds", "How long it has had work and not been loaded",
               labels,
               model.stay.waits_since
                   ? std::chrono::duration<double>(now - *model.stay.waits_since).count()
                   : 0);
  });
  each([&](const ModelEntry& model, const Labels& labels) {
    page.gauge("parkd_model_load_seconds", "What its last load took", labels,
               static_cast<double>(model.stay.load_ms) / 1000);
  });
  each([&](const ModelEntry& model, const Labels& labels) {
    page.counter("parkd_model_loads_total", "Loads since the start", labels,
                 static_cast<double>(model.stay.loads));
  });
  each([&](const ModelEntry& model, const Labels& labels) {
    page.counter("parkd_model_switches_total", "Of the loads: that others had to make room for",
                 labels, static_cast<double>(model.stay.switches));
  });
}

void add_api(Page& page, const ApiFigures& api) {
  page.gauge("parkd_parse_bytes", "Bytes of requests that are being read, and of what is read", {},
             static_cast<double>(api.bodies.used_bytes));
  page.gauge("parkd_parse_bytes_peak", "The most of parkd_parse_bytes since the start", {},
             static_cast<double>(api.bodies.peak_bytes));
  page.gauge("parkd_parse_bytes_limit", "What parkd_parse_bytes may be; above it requests get 503",
             {}, static_cast<double>(api.bodies.total_bytes));
  page.counter("parkd_parse_refused_total", "Requests refused because parkd_parse_bytes was spent",
               {}, static_cast<double>(api.bodies.refused));
  page.gauge("parkd_connections", "Connections of the API", {},
             static_cast<double>(api.http.connections.open));
  page.gauge("parkd_connections_limit", "daemon.connections_max, or what open files allow", {},
             static_cast<double>(api.http.connections.max));
  page.counter("parkd_connections_refused_total", "Connections refused with 503", {},
               static_cast<double>(api.http.connections.refused));
  const std::pair<const char*, int64_t> tokens[] = {{"missing", api.tcp.token_missing},
                                                    {"unknown", api.tcp.token_unknown},
                                                    {"in_flight", api.tcp.over_limit}};
  for (const auto& [why, n] : tokens) {
    page.counter(
        "parkd_token_refused_total",
        "Requests by TCP refused for their token: it is missing, unknown, or has as many in "
        "flight as it may",
        {{"why", why}}, static_cast<double>(n));
  }
  const auto callers = [&](const char* streams, int64_t n) {
    page.gauge("parkd_callers", "Clients that wait here for the end of a job",
               {{"streams", streams}}, static_cast<double>(n));
  };
  callers("false", api.callers.waiting - api.callers.streaming);
  callers("true", api.callers.streaming);
  page.gauge("parkd_jobs_with_callers",
             "Jobs that are cancelled when their callers have gone, as the store knows", {},
             static_cast<double>(api.callers.attached));
  page.gauge("parkd_jobs_in_grace", "Jobs that are cancelled if no caller comes back", {},
             static_cast<double>(api.callers.in_grace));
  page.gauge("parkd_files", "Files that clients have uploaded", {},
             static_cast<double>(api.files.files));
  page.gauge("parkd_file_bytes", "Bytes of parkd_files", {}, static_cast<double>(api.files.bytes));
  page.gauge("parkd_uploads", "Files that are being uploaded", {},
             static_cast<double>(api.files.uploads));
  const auto webhooks = [&](const char* result, int64_t n) {
    page.counter("parkd_webhook_deliveries_total",
                 "Attempts to tell a webhook of a batch's end (failed: made again)",
                 {{"result", result}}, static_cast<double>(n));
  };
  webhooks("delivered", api.webhooks.delivered);
  webhooks("failed", api.webhooks.failed);
  webhooks("given_up", api.webhooks.given_up);
  for (const auto& [key, n] : api.http.answered) {
    const auto& [route, status] = key;
    page.counter("parkd_answers_total", "Answered requests; of no URL that there is: route \"\"",
                 {{"route", route}, {"status", std::to_string(status)}}, static_cast<double>(n));
  }
}

}  // namespace

std::string render_metrics(const StoreStats& store, const DispatcherStats& dispatcher,
                           const ModelTable& models, const std::vector<HealthNotice>& notices,
                           const ApiFigures& api, WallTime now) {
  Page page;
  page.gauge("parkd_build_info", "1; the version is a label", {{"version", PARKD_VERSION}}, 1);
  add_queue(page, store, now);
  add_store(page, store);
  add_pool(page, dispatcher);
  add_outcomes(page, dispatcher);
  add_devices(page, models);
  add_degraded(page, models);
  add_memory(page, models, api.memory_budget_bytes, now);
  add_api(page, api);
  page.gauge("parkd_unstored_endings", "Finished jobs whose result the store has not taken yet", {},
             static_cast<double>(dispatcher.unstored_endings));
  for (const HealthNotice& notice : notices) {
    page.gauge("parkd_notice", "1 while the condition lasts; /readyz has its text",
               {{"code", notice.code}}, 1);
  }
  return page.text();
}

}  // namespace parkd
