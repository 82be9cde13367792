#include "lib/config/keys.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <vector>

#include "lib/base/nearest_word.h"
#include "lib/base/sampling_fields.h"

namespace parkd {
namespace {

constexpr std::string_view kNotYet = "not supported yet";

constexpr ConfigKey kOtherKeys[] = {
    {"", "parking_lot", KeyKind::section, ""},
    {"", "default_model", KeyKind::value, ""},
    {"", "models", KeyKind::section, ""},
    {"", "daemon", KeyKind::section, ""},
    {"", "idle_unload_secs", KeyKind::value, ""},

    {"parking_lot", "pool", KeyKind::section, ""},
    {"parking_lot", "limits", KeyKind::section, ""},
    {"parking_lot", "queue", KeyKind::section, ""},
    {"parking_lot", "mailbox", KeyKind::section, ""},

    {"parking_lot.pool", "worker_threads", KeyKind::value, ""},
    {"parking_lot.pool", "max_blocking_threads", KeyKind::value, ""},
    {"parking_lot.pool", "thread_stack_size", KeyKind::value, ""},

    {"parking_lot.limits", "max_units", KeyKind::value, ""},
    {"parking_lot.limits", "max_queue_depth", KeyKind::value, ""},
    {"parking_lot.limits", "max_queued_per_tenant", KeyKind::value, ""},
    {"parking_lot.limits", "max_scheduled_per_tenant", KeyKind::value, ""},
    {"parking_lot.limits", "interactive_reserve", KeyKind::value, ""},
    {"parking_lot.limits", "timeout_secs", KeyKind::value, ""},
    {"parking_lot.limits", "admission", KeyKind::value, ""},

    {"parking_lot.queue", "backend", KeyKind::value, ""},
    {"parking_lot.queue", "persistence", KeyKind::value, ""},
    {"parking_lot.queue", "rocksdb_dir", KeyKind::value, ""},
    {"parking_lot.queue", "yaque_dir", KeyKind::alias, "rocksdb_dir"},
    {"parking_lot.queue", "postgres_url", KeyKind::value, ""},
    {"parking_lot.queue", "sqlite_path", KeyKind::forbidden, kNotYet},
    {"parking_lot.queue", "surreal_path", KeyKind::forbidden, kNotYet},

    {"parking_lot.mailbox", "backend", KeyKind::value, ""},
    {"parking_lot.mailbox", "retention_secs", KeyKind::value, ""},
    {"parking_lot.mailbox", "postgres_url", KeyKind::value, ""},
    {"parking_lot.mailbox", "sqlite_path", KeyKind::forbidden, kNotYet},
    {"parking_lot.mailbox", "surreal_path", KeyKind::forbidden, kNotYet},
    {"parking_lot.mailbox", "webhook", KeyKind::forbidden, kNotYet},

    {"models[]", "name", KeyKind::value, ""},
    {"models[]", "hf_id", KeyKind::value, ""},
    {"models[]", "local_path", KeyKind::value, ""},
    {"models[]", "params", KeyKind::section, ""},
    {"models[]", "parking_lot", KeyKind::section, ""},
    {"models[]", "weight_file", KeyKind::forbidden,
     "not supported yet: let local_path name the file itself"},
    {"models[]", "capabilities", KeyKind::forbidden, kNotYet},
    {"models[]", "notes", KeyKind::forbidden, "not supported yet: write a YAML comment"},

    {"models[].params", "dtype", KeyKind::value, ""},
    {"models[].params", "device", KeyKind::value, ""},
    {"models[].params", "device_ids", KeyKind::value, ""},
    {"models[].params", "kvcache_mem_gpu", KeyKind::value, ""},
    {"models[].params", "kvcache_mem_cpu", KeyKind::value, ""},
    {"models[].params", "max_num_seqs", KeyKind::value, ""},
    {"models[].params", "block_size", KeyKind::value, ""},
    {"models[].params", "prefill_chunk_size", KeyKind::value, ""},
    {"models[].params", "prefix_caching", KeyKind::value, ""},
    {"models[].params", "prefix_sharing", KeyKind::value, ""},
    {"models[].params", "tensor_core_attention", KeyKind::value, ""},
    {"models[].params", "top_k", KeyKind::value, ""},
    {"models[].params", "mem", KeyKind::forbidden, "not supported yet: write kvcache_mem_gpu"},
    {"models[].params", "quantization", KeyKind::forbidden, kNotYet},
    {"models[].params", "isq", KeyKind::forbidden, kNotYet},
    {"models[].params", "multithread", KeyKind::forbidden, kNotYet},
    {"models[].params", "kvcache_compression", KeyKind::forbidden, kNotYet},
    {"models[].params", "prompt_cache", KeyKind::forbidden,
     "not supported: prompts share KV memory, which prefix_caching turns off"},

    {"daemon", "state_dir", KeyKind::value, ""},
    {"daemon", "socket", KeyKind::value, ""},
    {"daemon", "socket_mode", KeyKind::value, ""},
    {"daemon", "socket_group", KeyKind::value, ""},
    {"daemon", "listen", KeyKind::value, ""},
    {"daemon", "tokens_file", KeyKind::value, ""},
    {"daemon", "listen_tenant", KeyKind::value, ""},
    {"daemon", "host_names", KeyKind::value, ""},
    {"daemon", "log_level", KeyKind::value, ""},
    {"daemon", "log_format", KeyKind::value, ""},
    {"daemon", "drain_timeout_s", KeyKind::value, ""},
    {"daemon", "lot_jobs", KeyKind::value, ""},
    {"daemon", "max_body_bytes", KeyKind::value, ""},
    {"daemon", "max_request_bytes", KeyKind::value, ""},
    {"daemon", "max_batch_jobs", KeyKind::value, ""},
    {"daemon", "max_open_batches", KeyKind::value, ""},
    {"daemon", "max_batches_bytes", KeyKind::value, ""},
    {"daemon", "connections_max", KeyKind::value, ""},
    {"daemon", "step_tokens", KeyKind::value, ""},
    {"daemon", "cpu_isa", KeyKind::value, ""},
    {"daemon", "cuda_libraries", KeyKind::value, ""},
    {"daemon", "tenants", KeyKind::value, ""},
    {"daemon", "critical_tenants", KeyKind::value, ""},
    {"daemon", "finish_batch_ms", KeyKind::value, ""},
    {"daemon", "watchdog_stall_s", KeyKind::value, ""},
    {"daemon", "history_days", KeyKind::value, ""},
    {"daemon", "min_free_disk_mb", KeyKind::value, ""},
    {"daemon", "memory_mb", KeyKind::value, ""},
    {"daemon", "switch_wait_s", KeyKind::value, ""},
    {"daemon", "interactive_timeout_s", KeyKind::value, ""},
    {"daemon", "interactive_run_timeout_s", KeyKind::value, ""},
    {"daemon", "stream_grace_s", KeyKind::value, ""},
    {"daemon", "webhooks", KeyKind::value, ""},
    {"daemon", "files", KeyKind::section, ""},
    {"daemon", "postgres", KeyKind::section, ""},

    {"daemon.files", "max_file_mb", KeyKind::value, ""},
    {"daemon.files", "max_total_mb", KeyKind::value, ""},
    {"daemon.files", "max_files", KeyKind::value, ""},
    {"daemon.files", "max_uploads", KeyKind::value, ""},

    {"daemon.webhooks[]", "tenant", KeyKind::value, ""},
    {"daemon.webhooks[]", "url_prefix", KeyKind::value, ""},
    {"daemon.webhooks[]", "secret_file", KeyKind::value, ""},
    {"daemon.webhooks[]", "allow_private", KeyKind::value, ""},
    {"daemon.webhooks[]", "ca_file", KeyKind::value, ""},

    {"daemon.postgres", "listen_dsn", KeyKind::value, ""},
    {"daemon.postgres", "transaction_pooling", KeyKind::value, ""},
    {"daemon.postgres", "listen", KeyKind::value, ""},
    {"daemon.postgres", "poll_ms", KeyKind::value, ""},
    {"daemon.postgres", "beat_ms", KeyKind::value, ""},
    {"daemon.postgres", "ttl_ms", KeyKind::value, ""},
    {"daemon.postgres", "verb_limit_ms", KeyKind::value, ""},
    {"daemon.postgres", "statement_limit_ms", KeyKind::value, ""},
};

constexpr size_t kSamplingKeys =
    std::count_if(std::begin(kSamplingFields), std::end(kSamplingFields),
                  [](const SamplingField& field) { return field.in_config; });

constexpr auto kKeys = [] {
  std::array<ConfigKey, kSamplingKeys + std::size(kOtherKeys)> keys{};
  size_t n = 0;
  for (const SamplingField& field : kSamplingFields) {
    if (field.in_config) keys[n++] = {"models[].params", field.name, KeyKind::value, ""};
  }
  std::copy(std::begin(kOtherKeys), std::end(kOtherKeys), keys.begin() + n);
  return keys;
}();

std::string_view nearest_key(std::string_view section, std::string_view key) {
  std::vector<std::string_view> names;
  for (const ConfigKey& known : kKeys) {
    if (known.section == section && known.kind != KeyKind::forbidden) names.emplace_back(known.key);
  }
  return nearest_word(key, names);
}

}  // namespace

std::span<const ConfigKey> config_keys() {
  return kKeys;
}

const ConfigKey* find_config_key(std::string_view section, std::string_view key) {
  for (const ConfigKey& known : kKeys) {
    if (known.section == section && known.key == key) return &known;
  }
  return nullptr;
}

std::string unknown_key_hint(std::string_view section, std::string_view key) {
  const std::string_view nearest = nearest_key(section, key);
  if (!nearest.empty()) return "did you mean '" + std::string(nearest) + "'?";
  for (const ConfigKey& known : kKeys) {
    if (known.key != key) continue;
    if (known.section.empty()) return "it belongs at the top level";
    return "it belongs in '" + std::string(known.section) + "'";
  }
  return "";
}

}  // namespace parkd
