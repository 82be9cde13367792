// print_config(): the effective configuration as YAML that parses to an equal Config.
#include <charconv>

#include "lib/base/json_writer.h"
#include "lib/base/sampling_fields.h"
#include "lib/config/config.h"
#include "lib/config/kv_capacity.h"
#include "lib/config/values.h"
#include "lib/config/words.h"

namespace parkd {
namespace {

// Writes "key: value" lines at a depth. Values that may be read as something else are quoted as
// JSON strings, which YAML understands.
class YamlWriter {
 public:
  void line(int depth, std::string_view text) {
    out_.append(static_cast<size_t>(depth) * 2, ' ');
    out_ += text;
    out_ += '\n';
  }
  void raw(int depth, std::string_view key, std::string_view value) {
    line(depth, std::string(key) + ": " + std::string(value));
  }
  void text(int depth, std::string_view key, std::string_view value) {
    raw(depth, key, json_string(value));
  }
  void optional_text(int depth, std::string_view key, std::string_view value) {
    value.empty() ? raw(depth, key, "null") : text(depth, key, value);
  }
  void path(int depth, std::string_view key, std::string_view value) {
    std::string escaped;
    for (size_t i = 0; i < value.size(); ++i) {
      if (value.substr(i, 2) == "${") escaped += '$';
      escaped += value[i];
    }
    optional_text(depth, key, escaped);
  }
  void texts(int depth, std::string_view key, const std::vector<std::string>& values) {
    std::string list;
    for (const std::string& value : values) list += (list.empty() ? "" : ", ") + json_string(value);
    raw(depth, key, "[" + list + "]");
  }
  template <std::integral T>
  void number(int depth, std::string_view key, T value) {
    raw(depth, key, std::to_string(value));
  }
  void number(int depth, std::string_view key, double value) {
    char buffer[32];
    const auto end = std::to_chars(buffer, buffer + sizeof buffer, value).ptr;
    raw(depth, key, std::string_view(buffer, static_cast<size_t>(end - buffer)));
  }
  template <class T>
  void optional_number(int depth, std::string_view key, const std::optional<T>& value) {
    value ? number(depth, key, *value) : raw(depth, key, "null");
  }
  std::string take() { return std::move(out_); }

 private:
  std::string out_;
};

void print_pool(YamlWriter& y, int depth, const PoolConfig& pool) {
  y.line(depth, "pool:");
  y.optional_number(depth + 1, "worker_threads", pool.worker_threads);
  y.number(depth + 1, "max_blocking_threads", pool.max_blocking_threads);
  y.number(depth + 1, "thread_stack_size", pool.thread_stack_size_bytes);
}

void print_limits(YamlWriter& y, int depth, const LimitsConfig& limits) {
  y.line(depth, "limits:");
  y.optional_number(depth + 1, "max_units", limits.max_units);
  y.optional_number(depth + 1, "max_queue_depth", limits.max_queue_depth);
  y.optional_number(depth + 1, "max_queued_per_tenant", limits.max_queued_per_tenant);
  y.number(depth + 1, "max_scheduled_per_tenant", limits.max_scheduled_per_tenant);
  y.number(depth + 1, "interactive_reserve", limits.interactive_reserve);
  limits.timeout ? y.number(depth + 1, "timeout_secs", limits.timeout->count())
                 : y.raw(depth + 1, "timeout_secs", "null");
  y.raw(depth + 1, "admission", to_string(limits.admission));
}

void print_params(YamlWriter& y, int depth, const ModelParams& params) {
  y.line(depth, "params:");
  ++depth;
  y.raw(depth, "dtype", to_string(params.dtype));
  y.raw(depth, "device", to_string(params.device));
  std::string ids;
  for (const int32_t id : params.device_ids) ids += (ids.empty() ? "" : ", ") + std::to_string(id);
  y.raw(depth, "device_ids", "[" + ids + "]");
  y.optional_number(depth, "kvcache_mem_gpu", params.kvcache_mem_gpu_mb);
  y.optional_number(depth, "kvcache_mem_cpu", params.kvcache_mem_cpu_mb);
  y.line(depth, "# KV memory on the CPU: " + std::to_string(params.kv_memory_mb()) + " MiB");
  y.optional_number(depth, "max_num_seqs", params.max_num_seqs);
  if (!params.max_num_seqs) {
    y.line(depth, "# sequences at once: " + std::to_string(kCpuSequences) +
                      " on the CPU; on CUDA what the KV memory of each device holds of " +
                      std::to_string(kTypicalTokens) + " tokens each, at most " +
                      std::to_string(kSequencesOfDeviceMax));
  }
  y.number(depth, "block_size", params.block_size);
  y.optional_number(depth, "prefill_chunk_size", params.prefill_chunk_size);
  y.raw(depth, "tensor_core_attention", params.tensor_core_attention ? "true" : "false");
  y.raw(depth, "prefix_caching", params.prefix_caching ? "true" : "false");
  y.raw(depth, "prefix_sharing", to_string(params.prefix_sharing));
  for (const SamplingField& field : kSamplingFields) {
    if (!field.in_config) continue;
    const auto given = params.sampling.find(field.name);
    given == params.sampling.end() ? y.raw(depth, field.name, "null")
                                   : y.number(depth, field.name, given->second);
  }
  y.optional_number(depth, "top_k", params.top_k);
}

void print_parking_lot(YamlWriter& y, const Config& config) {
  y.line(0, "parking_lot:");
  print_pool(y, 1, config.pool);
  print_limits(y, 1, config.limits);
  y.line(1, "queue:");
  y.raw(2, "backend", to_string(config.queue.backend));
  y.raw(2, "persistence", config.queue.persistence ? "true" : "false");
  y.path(2, "rocksdb_dir", config.queue.rocksdb_dir);
  y.path(2, "postgres_url", config.queue.postgres_url);
  y.line(1, "mailbox:");
  y.raw(2, "backend", to_string(config.mailbox.backend));
  y.number(2, "retention_secs", config.mailbox.retention.count());
  y.path(2, "postgres_url", config.mailbox.postgres_url);
}

void print_model(YamlWriter& y, const ModelConfig& model) {
  y.line(1, "- name: " + json_string(model.name));
  y.optional_text(2, "hf_id", model.hf_id);
  y.path(2, "local_path", model.local_path);
  print_params(y, 2, model.params);
  y.line(2, "parking_lot:");
  print_pool(y, 3, model.pool);
  print_limits(y, 3, model.limits);
  y.line(3, "mailbox:");
  y.number(4, "retention_secs", model.retention.count());
  const std::optional<int32_t> sequences = model.params.device == Device::cpu
                                               ? model.params.sequences_on_cpu()
                                               : model.params.max_num_seqs;
  const bool is_known = model.lot_jobs || sequences;
  y.line(2, "# parked jobs at most: " +
                (is_known ? std::to_string(model.lot_places(sequences.value_or(0)))
                          : "2 * max_num_seqs, and max_num_seqs + 64"));
}

void print_tenants(YamlWriter& y, const DaemonConfig& daemon) {
  y.line(1, daemon.tenants.empty() ? "tenants: {}" : "tenants:");
  for (const auto& [user, tenant] : daemon.tenants) {
    y.text(2, json_string(user), tenant);
  }
  y.texts(1, "critical_tenants", daemon.critical_tenants);
}

void print_tcp(YamlWriter& y, const DaemonConfig& daemon) {
  std::vector<std::string> addresses;
  for (const TcpAddress& address : daemon.listen) addresses.push_back(address.to_string());
  y.texts(1, "listen", addresses);
  y.path(1, "tokens_file", daemon.tokens_file);
  y.optional_text(1, "listen_tenant", daemon.listen_tenant);
  y.texts(1, "host_names", daemon.host_names);
}

void print_postgres(YamlWriter& y, const PostgresConfig& postgres) {
  const auto flag = [](bool value) { return value ? "true" : "false"; };
  y.line(1, "postgres:");
  y.path(2, "listen_dsn", postgres.listen_dsn);
  y.raw(2, "transaction_pooling", flag(postgres.transaction_pooling));
  y.raw(2, "listen", flag(postgres.listen));
  y.number(2, "poll_ms", postgres.poll.count());
  y.number(2, "beat_ms", postgres.beat.count());
  y.number(2, "ttl_ms", postgres.ttl.count());
  y.number(2, "verb_limit_ms", postgres.verb_limit.count());
  y.number(2, "statement_limit_ms", postgres.statement_limit.count());
}

void print_files(YamlWriter& y, const FilesConfig& files) {
  y.line(1, "files:");
  y.number(2, "max_file_mb", files.max_file_mb);
  y.number(2, "max_total_mb", files.max_total_mb);
  y.number(2, "max_files", files.max_files);
  y.number(2, "max_uploads", files.max_uploads);
}

void print_webhooks(YamlWriter& y, const std::vector<WebhookConfig>& webhooks) {
  y.line(1, webhooks.empty() ? "webhooks: []" : "webhooks:");
  for (const WebhookConfig& webhook : webhooks) {
    y.line(2, "- tenant: " + json_string(webhook.tenant));
    y.text(3, "url_prefix", webhook.url_prefix.text);
    y.path(3, "secret_file", webhook.secret_file);
    y.raw(3, "allow_private", webhook.allow_private ? "true" : "false");
    y.path(3, "ca_file", webhook.ca_file);
  }
}

void print_daemon(YamlWriter& y, const DaemonConfig& daemon) {
  y.line(0, "daemon:");
  y.path(1, "state_dir", daemon.state_dir);
  y.path(1, "socket", daemon.socket);
  y.raw(1, "socket_mode", octal(daemon.socket_mode));
  y.optional_text(1, "socket_group", daemon.socket_group);
  print_tcp(y, daemon);
  y.raw(1, "log_level", words::word_of(words::kLogLevel, daemon.log_level));
  y.raw(1, "log_format", words::word_of(words::kLogFormat, daemon.log_format));
  y.number(1, "drain_timeout_s", daemon.drain_timeout.count());
  y.optional_number(1, "lot_jobs", daemon.lot_jobs);
  y.number(1, "max_body_bytes", daemon.max_body_bytes);
  y.number(1, "max_request_bytes", daemon.max_request_bytes);
  y.number(1, "max_batch_jobs", daemon.max_batch_jobs);
  y.number(1, "max_open_batches", daemon.max_open_batches);
  y.number(1, "max_batches_bytes", daemon.max_batches_bytes);
  y.number(1, "connections_max", daemon.connections_max);
  y.optional_number(1, "step_tokens", daemon.step_tokens);
  y.raw(1, "cpu_isa", to_string(daemon.cpu_isa));
  y.path(1, "cuda_libraries", daemon.cuda_libraries);
  print_tenants(y, daemon);
  y.number(1, "finish_batch_ms", daemon.finish_batch.count());
  y.number(1, "watchdog_stall_s", daemon.watchdog_stall.count());
  y.number(1, "history_days", daemon.history_days);
  y.optional_number(1, "min_free_disk_mb", daemon.min_free_disk_mb);
  y.optional_number(1, "memory_mb", daemon.memory_mb);
  y.number(1, "switch_wait_s", daemon.switch_wait.count());
  y.number(1, "interactive_timeout_s", daemon.interactive_timeout.count());
  y.number(1, "interactive_run_timeout_s", daemon.interactive_run_timeout.count());
  y.number(1, "stream_grace_s", daemon.stream_grace.count());
  print_webhooks(y, daemon.webhooks);
  print_files(y, daemon.files);
  print_postgres(y, daemon.postgres);
}

}  // namespace

std::string_view to_string(StoreBackend backend) {
  return words::word_of(words::kStoreBackend, backend);
}
std::string_view to_string(Device device) {
  return words::word_of(words::kDevice, device);
}
std::string_view to_string(CpuIsa isa) {
  return words::word_of(words::kCpuIsa, isa);
}
std::string_view to_string(Admission admission) {
  return words::word_of(words::kAdmission, admission);
}
std::string_view to_string(PrefixSharing sharing) {
  return words::word_of(words::kPrefixSharing, sharing);
}
std::string_view to_string(Dtype dtype) {
  return words::word_of(words::kDtype, dtype);
}

std::string print_config(const Config& config) {
  YamlWriter y;
  print_parking_lot(y, config);
  std::optional<int64_t> idle_unload_secs;
  if (config.idle_unload) idle_unload_secs = config.idle_unload->count();
  y.optional_number(0, "idle_unload_secs", idle_unload_secs);
  y.optional_text(0, "default_model", config.default_model);
  y.line(0, "models:");
  for (const ModelConfig& model : config.models) print_model(y, model);
  print_daemon(y, config.daemon);
  return y.take();
}

}  // namespace parkd
