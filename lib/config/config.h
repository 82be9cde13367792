// Config: what the daemon was told, read once from YAML, then immutable.
//
// Made by load_config() on the main thread before other threads start; shared by const reference
// afterwards. Every key is honoured or refused, none is silently ignored: config/parkd.yaml
// documents each with default, unit, range and meaning. Defaults are resolved here, so readers
// never carry one of their own; an optional that stays empty says what empty means. yaml-cpp and
// its exceptions stay behind config.cc. Never looks at weights, disks, GPUs or the user database.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/dtype.h"
#include "lib/base/log.h"
#include "lib/base/status.h"
#include "lib/base/tcp_address.h"
#include "lib/config/webhooks.h"

namespace parkd {

enum class StoreBackend { memory, rocksdb, postgres };
enum class Device { automatic, cpu, cuda };  // YAML: auto, cpu, cuda
enum class CpuIsa { automatic, scalar, avx2, avx512 };
enum class PrefixSharing { tenant, all };
enum class Admission { reserve };  // worst case charged before the start (grow: not supported yet)

std::string_view to_string(StoreBackend backend);
std::string_view to_string(Device device);
std::string_view to_string(CpuIsa isa);
std::string_view to_string(Admission admission);
std::string_view to_string(PrefixSharing sharing);
std::string_view to_string(Dtype dtype);

// Defaults. On CUDA these, and kv_capacity.h's sequences_held(), were
// chosen by a model of the devices (tools/simulate): no GPU has confirmed them.
inline constexpr int32_t kCpuSequences = 16;
inline constexpr int32_t kCpuStepTokens = 512;
inline constexpr int32_t kCudaLanes = 1;  // of each device
inline constexpr int32_t kCudaStepTokens = 2048;

// parking_lot.pool, merged for one model.
struct PoolConfig {
  // Of each device. Empty: kCudaLanes on CUDA, this process's cores on the CPU.
  std::optional<int32_t> worker_threads;
  int32_t max_blocking_threads = 512;  // bound of the blocking-work pool
  int64_t thread_stack_size_bytes = 2097152;
  friend bool operator==(const PoolConfig&, const PoolConfig&) = default;
};

// parking_lot.limits, merged for one model.
struct LimitsConfig {
  std::optional<int64_t> max_units;              // empty: what the KV memory holds
  std::optional<int64_t> max_queue_depth;        // empty: no limit
  std::optional<int64_t> max_queued_per_tenant;  // empty: half of max_queue_depth
  int64_t max_scheduled_per_tenant = 10'000;
  double interactive_reserve = 0;               // 0 .. 0.5 of units and sequences
  std::optional<std::chrono::seconds> timeout;  // run timeout of jobs without one; empty: 3600 s
  Admission admission = Admission::reserve;
  friend bool operator==(const LimitsConfig&, const LimitsConfig&) = default;
};

// parking_lot.queue: one per daemon.
struct QueueConfig {
  StoreBackend backend = StoreBackend::rocksdb;
  bool persistence = true;   // follows the back end; kept because the key exists
  std::string rocksdb_dir;   // empty unless the back end is rocksdb
  std::string postgres_url;  // libpq URI or keywords, never with a password; empty unless postgres
  friend bool operator==(const QueueConfig&, const QueueConfig&) = default;
};

// parking_lot.mailbox: the back end is one per daemon, the retention merges per model.
struct MailboxConfig {
  StoreBackend backend = StoreBackend::rocksdb;
  std::chrono::seconds retention{604800};
  std::string postgres_url;  // as the queue's; the same where both are postgres
  friend bool operator==(const MailboxConfig&, const MailboxConfig&) = default;
};

// models[].params
struct ModelParams {
  Dtype dtype = Dtype::bf16;
  Device device = Device::automatic;
  std::vector<int32_t> device_ids;  // CUDA devices; empty: the one with the most free memory
  std::optional<int64_t> kvcache_mem_gpu_mb;  // as written
  std::optional<int64_t> kvcache_mem_cpu_mb;  // as written
  std::optional<int32_t> max_num_seqs;  // of all devices. Empty: kCpuSequences, or derived on CUDA
  int32_t block_size = 32;              // tokens
  std::optional<int32_t> prefill_chunk_size;             // tokens; empty: daemon.step_tokens
  bool prefix_caching = true;                            // prompts that begin alike share KV blocks
  PrefixSharing prefix_sharing = PrefixSharing::tenant;  // and whose
  bool tensor_core_attention = true;                     // CUDA: prompts' attention by mma.sync
  // Sampling defaults of this model's jobs; empty: the model's own, else OpenAI's.
  // Of kSamplingFields, by name; what is not given is not there.
  std::map<std::string_view, double> sampling;
  std::optional<int32_t> top_k;  // 0 = off (-1 in the YAML means 0)
  friend bool operator==(const ModelParams&, const ModelParams&) = default;

  // MiB of KV cache on the CPU: kvcache_mem_cpu, else kvcache_mem_gpu, else 1024.
  int64_t kv_memory_mb() const {
    return kvcache_mem_cpu_mb.value_or(kvcache_mem_gpu_mb.value_or(1024));
  }
  int32_t sequences_on_cpu() const { return max_num_seqs.value_or(kCpuSequences); }
  // Whatever device it gets, and however much memory that has.
  int32_t sequences_at_most() const;
};

struct ModelConfig {
  std::string name;
  std::string hf_id;       // empty: local_path is set. Alone: lib/weights/hub_cache.h
  std::string local_path;  // a GGUF file or a folder that holds one; empty: hf_id is set
  ModelParams params;
  PoolConfig pool;
  LimitsConfig limits;
  std::chrono::seconds retention{604800};
  std::optional<int32_t> lot_jobs;  // daemon.lot_jobs
  friend bool operator==(const ModelConfig&, const ModelConfig&) = default;

  // Jobs that may be parked where so many sequences run: lot_jobs, else as many as wait for two
  // rounds of them, but no more than 64 beyond one: others may have room for those sooner.
  int32_t lot_places(int32_t max_num_seqs) const {
    return lot_jobs.value_or(std::min(2 * max_num_seqs, max_num_seqs + 64));
  }
};

// daemon.postgres: how this daemon talks to its database.
struct PostgresConfig {
  std::string listen_dsn;            // straight to the server, past a pooler; empty: postgres_url
  bool transaction_pooling = false;  // postgres_url is a pooler that shares sessions
  bool listen = true;                // false: poll only
  std::chrono::milliseconds poll{2000};
  std::chrono::milliseconds beat{5000};
  std::chrono::milliseconds ttl{30'000};  // silent for longer: others take this daemon's jobs
  std::chrono::milliseconds verb_limit{5000};
  std::chrono::milliseconds statement_limit{30'000};
  friend bool operator==(const PostgresConfig&, const PostgresConfig&) = default;
};

// daemon.files: what clients may upload (POST /v1/files).
struct FilesConfig {
  int64_t max_file_mb = 200;
  int64_t max_total_mb = 2048;  // of a tenant
  int64_t max_files = 1000;     // of a tenant
  int64_t max_uploads = 8;      // of a tenant at a time
  friend bool operator==(const FilesConfig&, const FilesConfig&) = default;
};

struct DaemonConfig {
  std::string state_dir = "/var/lib/parkd";
  std::string socket;              // path of the API's Unix socket
  uint32_t socket_mode = 0660;     // its permission bits
  std::string socket_group;        // its group, by name or number; empty: the daemon's own
  std::vector<TcpAddress> listen;  // the API's TCP addresses; empty: its socket alone
  // One of the two where there is TCP, and no more.
  std::string tokens_file;    // whose token is whose (token_file.h)
  std::string listen_tenant;  // of all who come by TCP, of this machine; empty: their token's
  std::vector<std::string> host_names;  // of this machine, for HTTP's Host; in lower case
  LogLevel log_level = LogLevel::info;
  LogFormat log_format = LogFormat::text;
  std::chrono::seconds drain_timeout{30};
  std::optional<int32_t> lot_jobs;       // empty: ModelConfig::lot_places()
  int64_t max_body_bytes = 1048576;      // largest body of one job
  int64_t max_request_bytes = 67108864;  // largest HTTP request, which may hold many jobs
  int64_t max_batch_jobs = 50000;
  int64_t max_open_batches = 1000;       // of a tenant
  int64_t max_batches_bytes = 67108864;  // all that an embedded or memory queue remembers
  int32_t connections_max = 1024;        // of the API; at most half of the open files allowed
  // Token budget of one worker's step. Empty: kCpuStepTokens, kCudaStepTokens.
  std::optional<int32_t> step_tokens;
  CpuIsa cpu_isa = CpuIsa::automatic;
  std::string cuda_libraries;  // the folder of cuBLAS; empty: cuda_libraries.h of lib/backend/cuda
  std::map<std::string, std::string> tenants;  // uid in digits, or user name -> tenant
  std::vector<std::string> critical_tenants;   // may submit priority critical
  std::chrono::milliseconds finish_batch{5};   // how long results wait to share a commit
  std::chrono::seconds watchdog_stall{120};  // no step for so long while running: watchdog starves
  int32_t history_days = 30;
  // Embedded durable queues refuse submits below it. Empty: 512, or an eighth of a smaller disk.
  std::optional<int64_t> min_free_disk_mb;
  // MiB of main memory for all models that are loaded. Empty: lib/backend/models_outlook.h.
  std::optional<int64_t> memory_mb;
  std::chrono::seconds switch_wait{600};  // a model with work waits so long for one that has some
  // Of requests whose caller waits for the answer (POST /v1/chat/completions):
  std::chrono::seconds interactive_timeout{600};      // it is told so long after
  std::chrono::seconds interactive_run_timeout{120};  // their job may run
  std::chrono::seconds stream_grace{60};              // it is gone: then its job is cancelled
  FilesConfig files;
  std::vector<WebhookConfig> webhooks;  // receivers of the ends of batches
  PostgresConfig postgres;
  friend bool operator==(const DaemonConfig&, const DaemonConfig&) = default;

  int32_t step_tokens_on_cpu() const { return step_tokens.value_or(kCpuStepTokens); }
};

struct Config {
  DaemonConfig daemon;
  QueueConfig queue;
  MailboxConfig mailbox;
  PoolConfig pool;  // the global sections, defaults resolved; models hold their own merged copy
  LimitsConfig limits;
  std::optional<std::chrono::seconds> idle_unload;  // empty: a model stays loaded without work
  std::string default_model;                        // empty: a job must name its model
  std::vector<ModelConfig> models;                  // at least one, names unique
  friend bool operator==(const Config&, const Config&) = default;

  bool uses_postgres() const {
    return queue.backend == StoreBackend::postgres || mailbox.backend == StoreBackend::postgres;
  }
  // The model of that name; nullptr when there is none.
  const ModelConfig* find_model(std::string_view name) const;
};

// What parsing takes from the process. Tests give their own.
struct ConfigInputs {
  std::function<std::optional<std::string>(std::string_view name)> environment;
};
ConfigInputs process_inputs();

// Reads and checks a file. Errors: not_found, or invalid with
// "FILE:LINE:COLUMN: key 'a.b.c': value X ..." naming the limit, and the key as param().
Result<Config> load_config(const std::string& path);

// The same for text; `file_name` is only what messages call it. At most 1 MiB of text.
Result<Config> parse_config(std::string_view text, const std::string& file_name);
Result<Config> parse_config(std::string_view text, const std::string& file_name,
                            const ConfigInputs& inputs);

// The effective configuration as YAML: every key, defaults resolved. parse_config() of it gives an
// equal Config.
std::string print_config(const Config& config);

// What an operator should hear once at start, one line each: a choice made for him that another
// reading of his YAML could have made differently.
std::vector<std::string> config_notes(const Config& config);

// Every key the parser honours, as "parking_lot.pool.worker_threads", "models[].params.dtype".
// models[].parking_lot repeats parking_lot's keys and is listed once.
std::vector<std::string> known_config_keys();

}  // namespace parkd
