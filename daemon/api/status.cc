// /v1/models, /v1/pool, /readyz, /metrics, /openapi.json: what the daemon says of itself.
#include <algorithm>
#include <vector>

#include "daemon/api/api.h"
#include "daemon/api/metrics.h"
#include "daemon/api/openapi.h"
#include "daemon/models/pool_json.h"
#include "lib/base/json_reader.h"
#include "lib/base/json_writer.h"
#include "lib/store/client_store.h"

namespace parkd {
namespace {

void write_model(JsonWriter& json, const std::string& name, const ModelEntry& model) {
  json.begin_object();
  json.member("id", name);
  json.member("object", "model");
  json.member("created", to_unix_us(model.stay.known_since) / 1'000'000);
  json.member("owned_by", "parkd");
  json.member("state", to_string(model.state));
  if (!model.failure.empty()) json.member("failure", model.failure);
  if (!model.family.empty()) json.member("family", model.family);
  if (!model.description.empty()) json.member("description", model.description);
  if (model.weight_bytes > 0) json.member("weight_bytes", model.weight_bytes);
  if (model.state == ModelState::loading && model.weight_bytes > 0) {
    json.member("loaded_bytes", model.loaded_bytes);
  }
  if (model.memory.total() > 0) {
    json.begin_object("memory");
    write_members(json, model.memory);
    json.end_object();
  }
  json.member("in_memory", model.stay.in_memory);
  if (model.stay.load_ms > 0) json.member("load_ms", model.stay.load_ms);
  json.member("loads", model.stay.loads);
  if (model.stay.waits_since) json.member("waits_since", to_rfc3339(*model.stay.waits_since));
  if (!model.backend.empty()) json.member("backend", model.backend);
  if (!model.backend_reason.empty()) json.member("backend_reason", model.backend_reason);
  if (!model.degraded.empty()) json.member("degraded", model.degraded);
  if (model.endpoint != nullptr) {
    const EndpointOptions& options = model.endpoint->options();
    json.member("context_tokens", options.context_tokens);
    json.member("block_size", options.block_size);
    json.member("capacity_units", options.capacity.count);
    json.member("max_num_seqs", model.max_num_seqs);
    json.member("max_num_seqs_derived", model.max_num_seqs_derived);
    json.member("devices", model.n_devices);
    json.member("lanes", model.n_lanes);
    json.member("step_tokens", model.step_tokens);
    json.member("system_fingerprint", options.system_fingerprint);
    const AnswerForm& form = model.endpoint->answer_form();
    json.member("reasoning", TextOrNull{form.reasoning});
    json.member("tool_calls", TextOrNull{to_string(form.calls)});
  }
  json.end_object();
}

void write_pool(JsonWriter& json, const ModelStats& model) {
  json.begin_object();
  write_pool_members(json, model);
  json.member("peak_units", model.peak.count);
  json.member("block_size", model.block_size);
  json.member("preparing", model.preparing);
  json.member("running_sequences", model.running_sequences);
  json.member("ending", model.ending);
  json.member("kept_units", model.reserve.units.count);
  json.member("kept_units_in_use", model.reserve.units_in_use.count);
  json.member("kept_sequences", model.reserve.sequences);
  json.member("kept_sequences_in_use", model.reserve.sequences_in_use);
  json.member("prompt_tokens", model.prompt_tokens);
  json.member("shared_tokens", model.shared_tokens);
  json.member("output_tokens", model.output_tokens);
  json.begin_object("outcomes");
  for (const auto& [outcome, count] : model.outcomes) json.member(outcome, count);
  json.end_object();
  json.end_object();
}

void write_notice(JsonWriter& json, const HealthNotice& notice) {
  json.begin_object();
  json.member("code", notice.code);
  json.member("text", notice.text);
  json.member("not_ready", notice.not_ready);
  json.end_object();
}

// The daemon's own, then the store's.
std::vector<HealthNotice> all_notices(std::vector<HealthNotice> all,
                                      const Result<StoreStats>& stats) {
  if (stats.ok()) all.insert(all.end(), stats->notices.begin(), stats->notices.end());
  return all;
}

// Where it is reached by TCP; nothing where it is not.
void write_addresses(JsonWriter& json, const std::vector<TcpAddress>& addresses) {
  if (addresses.empty()) return;
  json.begin_array("listen");
  for (const TcpAddress& address : addresses) json.element(address.to_string());
  json.end_array();
}

std::vector<std::string> failed_models(const ModelTable& models) {
  std::vector<std::string> names;
  for (const auto& [name, entry] : models) {
    if (entry.state == ModelState::failed) names.push_back(name);
  }
  return names;
}

void write_models(JsonWriter& json, std::string_view key, const ModelTable& models) {
  json.begin_array(key);
  for (const auto& [name, entry] : models) write_model(json, name, entry);
  json.end_array();
}

}  // namespace

void Api::models(const AskedPtr& asked) {
  JsonWriter json;
  json.begin_object().member("object", "list");
  write_models(json, "data", *asked->models);
  asked->reply({.body = json.end_object().take()});
}

void Api::model(const AskedPtr& asked) {
  const auto found = asked->models->find(asked->part);
  if (found == asked->models->end()) {
    return asked->reply(error_reply(not_found("there is no model \"" + shown_name(asked->part) +
                                              "\" here; GET /v1/models lists those there are")));
  }
  JsonWriter json;
  write_model(json, found->first, found->second);
  asked->reply({.body = json.take()});
}

void Api::pool(const AskedPtr& asked) {
  const auto stats = parts_.dispatcher.stats();
  JsonWriter json;
  json.begin_object().member("draining", stats->draining);
  json.member("store_trouble", stats->store_trouble);
  json.member("unstored_endings", stats->unstored_endings);
  json.begin_array("models");
  for (const ModelStats& model : stats->models) write_pool(json, model);
  asked->reply({.body = json.end_array().end_object().take()});
}

void Api::healthz(const AskedPtr& asked) {
  asked->reply({.body = R"({"status":"ok"})"});
}

void Api::openapi(const AskedPtr& asked) {
  asked->reply({.body = openapi_document()});
}

// Ready means that jobs are accepted and kept, and that some model is there or may still come. What
// failed beside it is named: the daemon is then degraded.
void Api::ready(const AskedPtr& asked) {
  parts_.store.stats(on_quick<StoreStats>(asked, [this, asked](Result<StoreStats> stats) {
    const bool store_healthy = stats.ok() && stats->healthy;
    const std::vector<HealthNotice> notices = all_notices(asked->notices, stats);
    const bool blocked = std::any_of(notices.begin(), notices.end(),
                                     [](const HealthNotice& notice) { return notice.not_ready; });
    const std::vector<std::string> failed = failed_models(*asked->models);
    const bool hopeless = !asked->models->empty() &&
                          std::all_of(asked->models->begin(), asked->models->end(),
                                      [](const auto& entry) { return entry.second.is_hopeless(); });
    const bool ready = store_healthy && !asked->stopping && !blocked && !hopeless;
    JsonWriter json;
    json.begin_object().member("ready", ready);
    json.member("degraded", ready && !failed.empty());
    json.begin_array("failed_models");
    for (const std::string& name : failed) json.element(name);
    json.end_array();
    json.member("stopping", asked->stopping);
    json.member("store_healthy", store_healthy);
    if (!parts_.database.empty()) json.member("database", parts_.database);
    if (server_ != nullptr) write_addresses(json, server_->tcp_addresses());
    if (!stats.ok()) {
      json.member("store_error", stats.status().to_string());
    } else if (!stats->healthy) {
      json.member("store_error", stats->health_error);
    }
    // A mailbox elsewhere that is away: jobs are accepted and run, results wait on disk.
    if (stats.ok() && !stats->mailbox_error.empty()) {
      json.member("mailbox_error", stats->mailbox_error);
      json.member("undelivered_messages", stats->undelivered_messages);
    }
    if (!notices.empty()) {
      json.begin_array("notices");
      for (const HealthNotice& notice : notices) write_notice(json, notice);
      json.end_array();
    }
    write_models(json, "models", *asked->models);
    asked->reply({.status = ready ? 200 : 503, .body = json.end_object().take()});
  }));
}

void Api::metrics(const AskedPtr& asked) {
  ApiFigures figures;
  figures.bodies = parts_.bodies.figures();
  figures.memory_budget_bytes = memory_budget_bytes_;
  figures.tcp = tcp_.figures();
  figures.callers = callers_.figures();
  figures.files = file_figures_;
  if (webhooks_ != nullptr) figures.webhooks = webhooks_->figures();
  if (server_ != nullptr) figures.http = server_->figures();
  work_.quick(asked->who(), asked->reply, [this, asked, figures = std::move(figures)] {
    parts_.store.stats(
        on_quick<StoreStats>(asked, [this, asked, figures](Result<StoreStats> stats) {
          if (!stats.ok()) return asked->reply(error_reply(stats.status()));
          asked->reply({.body = render_metrics(*stats, *parts_.dispatcher.stats(), *asked->models,
                                               all_notices(asked->notices, stats), figures,
                                               parts_.clock.now()),
                        .content_type = "text/plain; version=0.0.4"});
        }));
  });
}

}  // namespace parkd
