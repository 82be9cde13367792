// /v1/models, /v1/pool, /readyz, /metrics: what the daemon says of itself.
#include <algorithm>
#include <vector>

#include "daemon/api/api.h"
#include "daemon/api/metrics.h"
#include "lib/base/text.h"

namespace parkd {
namespace {

void field(std::string& out, const char* key, std::string_view text) {
  if (out.back() != '{') out += ',';
  out += std::string("\"") + key + "\":";
  append_json_string(out, text);
}

void field(std::string& out, const char* key, int64_t number) {
  if (out.back() != '{') out += ',';
  out += std::string("\"") + key + "\":" + std::to_string(number);
}

void flag(std::string& out, const char* key, bool value) {
  if (out.back() != '{') out += ',';
  out += std::string("\"") + key + "\":" + (value ? "true" : "false");
}

std::string render_model(const std::string& name, const ModelEntry& model) {
  std::string out = "{";
  field(out, "id", name);
  field(out, "object", "model");
  field(out, "state", to_string(model.state));
  if (!model.failure.empty()) field(out, "failure", model.failure);
  if (!model.description.empty()) field(out, "description", model.description);
  if (model.weight_bytes > 0) field(out, "weight_bytes", model.weight_bytes);
  if (model.state == ModelState::loading && model.weight_bytes > 0) {
    field(out, "loaded_bytes", model.loaded_bytes);
  }
  if (!model.backend.empty()) field(out, "backend", model.backend);
  if (!model.backend_reason.empty()) field(out, "backend_reason", model.backend_reason);
  if (model.endpoint != nullptr) {
    const ChatEndpointOptions& options = model.endpoint->options();
    field(out, "context_tokens", options.context_tokens);
    field(out, "block_size", options.block_size);
    field(out, "capacity_units", options.capacity.count);
    field(out, "max_num_seqs", options.max_num_seqs);
    field(out, "system_fingerprint", options.system_fingerprint);
  }
  return out + "}";
}

std::string render_pool(const ModelStats& model) {
  std::string out = "{";
  field(out, "model", model.model);
  field(out, "state", to_string(model.state));
  field(out, "capacity_units", model.capacity.count);
  field(out, "in_use_units", model.in_use.count);
  field(out, "peak_units", model.peak.count);
  field(out, "block_size", model.block_size);
  field(out, "preparing", model.preparing);
  field(out, "parked", model.parked);
  field(out, "running", model.running);
  field(out, "running_sequences", model.running_sequences);
  field(out, "ending", model.ending);
  field(out, "kept_units", model.reserve.units.count);
  field(out, "kept_units_in_use", model.reserve.units_in_use.count);
  field(out, "kept_sequences", model.reserve.sequences);
  field(out, "kept_sequences_in_use", model.reserve.sequences_in_use);
  field(out, "lot_places", model.lot_places);
  field(out, "max_num_seqs", model.max_num_seqs);
  field(out, "prompt_tokens", model.prompt_tokens);
  field(out, "shared_tokens", model.shared_tokens);
  field(out, "output_tokens", model.output_tokens);
  std::string outcomes = "{";
  for (const auto& [outcome, count] : model.outcomes) field(outcomes, outcome.c_str(), count);
  out += ",\"outcomes\":" + outcomes + "}";
  return out + "}";
}

std::string render_notice(const HealthNotice& notice) {
  std::string out = "{";
  field(out, "code", notice.code);
  field(out, "text", notice.text);
  flag(out, "not_ready", notice.not_ready);
  return out + "}";
}

// The daemon's own, then the store's.
std::vector<HealthNotice> all_notices(std::vector<HealthNotice> all,
                                      const Result<StoreStats>& stats) {
  if (stats.ok()) all.insert(all.end(), stats->notices.begin(), stats->notices.end());
  return all;
}

std::string json_string(const std::string& text) {
  std::string out;
  append_json_string(out, text);
  return out;
}

std::vector<std::string> failed_models(const ModelTable& models) {
  std::vector<std::string> names;
  for (const auto& [name, entry] : models) {
    if (entry.state == ModelState::failed) names.push_back(name);
  }
  return names;
}

template <class Map, class Render>
std::string render_list(const Map& entries, Render&& render) {
  std::string out = "[";
  for (const auto& entry : entries) {
    if (out.back() != '[') out += ',';
    out += render(entry);
  }
  return out + "]";
}

}  // namespace

void Api::models(const AskedPtr& asked) {
  const std::string list = render_list(
      *asked->models, [](const auto& entry) { return render_model(entry.first, entry.second); });
  asked->reply({.body = "{\"object\":\"list\",\"data\":" + list + "}"});
}

void Api::pool(const AskedPtr& asked) {
  const auto stats = parts_.dispatcher.stats();
  std::string out = "{";
  flag(out, "draining", stats->draining);
  flag(out, "store_trouble", stats->store_trouble);
  field(out, "unstored_endings", stats->unstored_endings);
  out += ",\"models\":" + render_list(stats->models, render_pool);
  asked->reply({.body = out + "}"});
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
    std::string out = "{";
    flag(out, "ready", ready);
    flag(out, "degraded", ready && !failed.empty());
    out += ",\"failed_models\":" + render_list(failed, json_string);
    flag(out, "stopping", asked->stopping);
    flag(out, "store_healthy", store_healthy);
    if (!parts_.database.empty()) field(out, "database", parts_.database);
    if (!stats.ok()) {
      field(out, "store_error", stats.status().to_string());
    } else if (!stats->healthy) {
      field(out, "store_error", stats->health_error);
    }
    // A mailbox elsewhere that is away: jobs are accepted and run, results wait on disk.
    if (stats.ok() && !stats->mailbox_error.empty()) {
      field(out, "mailbox_error", stats->mailbox_error);
      field(out, "undelivered_messages", stats->undelivered_messages);
    }
    if (!notices.empty()) out += ",\"notices\":" + render_list(notices, render_notice);
    out += ",\"models\":" + render_list(*asked->models, [](const auto& entry) {
             return render_model(entry.first, entry.second);
           });
    asked->reply({.status = ready ? 200 : 503, .body = out + "}"});
  }));
}

void Api::metrics(const AskedPtr& asked) {
  parts_.store.stats(on_quick<StoreStats>(asked, [this, asked](Result<StoreStats> stats) {
    if (!stats.ok()) return asked->reply(error_reply(stats.status()));
    asked->reply(
        {.body = render_metrics(*stats, *parts_.dispatcher.stats(), *asked->models,
                                all_notices(asked->notices, stats),
                                {parts_.bodies.figures(), asked->connections}, parts_.clock.now()),
         .content_type = "text/plain; version=0.0.4"});
  }));
}

}  // namespace parkd
