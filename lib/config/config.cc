#include "lib/config/config.h"

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <set>

#include "lib/base/sampling_fields.h"
#include "lib/base/text.h"
#include "lib/config/keys.h"
#include "lib/config/words.h"
#include "lib/config/yaml_reader.h"

namespace parkd {
namespace {

using std::chrono::seconds;

constexpr size_t kFileBytesMax = 1 << 20;
constexpr size_t kModelsMax = 64;
constexpr size_t kTenantsMax = 10000;
constexpr size_t kNameBytesMax = 128;
constexpr size_t kHfIdBytesMax = 512;    // a repository, a commit and a file
constexpr size_t kGroupBytesMax = 32;    // as groupadd has it
constexpr size_t kSocketBytesMax = 107;  // sun_path of sockaddr_un, less its final zero byte
constexpr int64_t kCountMax = 1000000000;
constexpr int64_t kWeekSeconds = 7 * 24 * 3600;
constexpr std::string_view kNameCharacters = "letters, digits and . _ - : / @";

// What a section says before defaults: a model's starts as a copy of the global one, so reading it
// over the copy merges key by key. An outer optional that is set to an empty inner one is a null.
struct PoolKeys {
  std::optional<int32_t> worker_threads;
  std::optional<int32_t> max_blocking_threads;
  std::optional<int64_t> thread_stack_size_bytes;
};
struct LimitsKeys {
  std::optional<int64_t> max_units;
  std::optional<int64_t> max_queue_depth;
  std::optional<int64_t> max_queued_per_tenant;
  std::optional<int64_t> max_scheduled_per_tenant;
  std::optional<double> interactive_reserve;
  std::optional<int64_t> timeout_secs;
  std::optional<Admission> admission;
};
struct ParkingLotKeys {
  PoolKeys pool;
  LimitsKeys limits;
  std::optional<int64_t> retention_secs;
};

template <class T>
void take(std::optional<T> read, std::optional<T>& out) {
  if (read) out = read;
}

// Reads an integer whose null means "left out", also over a global value.
void take_nullable(const YamlSection& section, std::string_view key, int64_t min, int64_t max,
                   std::optional<int64_t>& out) {
  if (section.has(key) && !section.has_value(key)) {
    out.reset();
    return;
  }
  take(section.integer(key, min, max), out);
}
void take_nullable(const YamlSection& section, std::string_view key, int32_t min, int32_t max,
                   std::optional<int32_t>& out) {
  std::optional<int64_t> wide = out;
  take_nullable(section, key, int64_t{min}, int64_t{max}, wide);
  out.reset();
  if (wide) out = static_cast<int32_t>(*wide);
}

void take_nullable(const YamlSection& section, std::string_view key, double min, double max,
                   std::optional<double>& out) {
  if (section.has(key) && !section.has_value(key)) {
    out.reset();
    return;
  }
  take(section.number(key, min, max), out);
}

void read_pool(const YamlSection& section, PoolKeys& keys) {
  take_nullable(section, "worker_threads", 1, 1024, keys.worker_threads);
  take(section.integer32("max_blocking_threads", 1, 4096), keys.max_blocking_threads);
  take(section.integer("thread_stack_size", 64 << 10, 1 << 30), keys.thread_stack_size_bytes);
}

void read_limits(const YamlSection& section, LimitsKeys& keys) {
  take_nullable(section, "max_units", 1, kCountMax, keys.max_units);
  take_nullable(section, "max_queue_depth", 1, kCountMax, keys.max_queue_depth);
  take_nullable(section, "max_queued_per_tenant", 1, kCountMax, keys.max_queued_per_tenant);
  take(section.integer("max_scheduled_per_tenant", 1, kCountMax), keys.max_scheduled_per_tenant);
  take_nullable(section, "interactive_reserve", 0, 0.5, keys.interactive_reserve);
  take_nullable(section, "timeout_secs", 1, kWeekSeconds, keys.timeout_secs);
  take(section.word<Admission>("admission", words::kAdmission), keys.admission);
}

void read_retention(const YamlSection& mailbox, ParkingLotKeys& keys) {
  take(mailbox.integer("retention_secs", 60, 30 * 24 * 3600), keys.retention_secs);
}

PoolConfig resolve(const PoolKeys& keys) {
  PoolConfig pool;
  pool.worker_threads = keys.worker_threads;
  pool.max_blocking_threads = keys.max_blocking_threads.value_or(pool.max_blocking_threads);
  pool.thread_stack_size_bytes =
      keys.thread_stack_size_bytes.value_or(pool.thread_stack_size_bytes);
  return pool;
}

LimitsConfig resolve(const LimitsKeys& keys, StoreBackend backend) {
  LimitsConfig limits;
  limits.max_units = keys.max_units;
  limits.max_queue_depth = keys.max_queue_depth;
  // What waits stands in RAM, whole or as its place in the order; a database knows by itself.
  if (!limits.max_queue_depth && backend == StoreBackend::memory) limits.max_queue_depth = 1000;
  if (!limits.max_queue_depth && backend == StoreBackend::rocksdb) limits.max_queue_depth = 1000000;
  limits.max_queued_per_tenant = keys.max_queued_per_tenant;
  if (!limits.max_queued_per_tenant && limits.max_queue_depth) {
    limits.max_queued_per_tenant = (*limits.max_queue_depth + 1) / 2;
  }
  limits.max_scheduled_per_tenant =
      keys.max_scheduled_per_tenant.value_or(limits.max_scheduled_per_tenant);
  limits.interactive_reserve =
      keys.interactive_reserve.value_or(backend == StoreBackend::memory ? 0 : 0.125);
  if (keys.timeout_secs) limits.timeout = seconds(*keys.timeout_secs);
  limits.admission = keys.admission.value_or(Admission::reserve);
  return limits;
}

seconds resolve_retention(const ParkingLotKeys& keys, StoreBackend backend) {
  return seconds(
      keys.retention_secs.value_or(backend == StoreBackend::memory ? 3600 : kWeekSeconds));
}

std::string joined(const std::string& folder, std::string_view name) {
  return folder + (folder.back() == '/' ? "" : "/") + std::string(name);
}

std::optional<std::string> nullable_path(const YamlSection& section, std::string_view key) {
  if (!section.has_value(key)) return std::nullopt;
  return section.path(key);
}

// A key of another back end is refused, not ignored. A URL is not shown: it may hold a password.
void refuse_foreign(const YamlSection& section, std::string_view key, StoreBackend backend) {
  if (!section.has_value(key)) return;
  const std::string why =
      "has no use with the " + std::string(to_string(backend)) + " back end: leave it out";
  key == "postgres_url" ? section.fail(key, why) : section.fail_value(key, why);
}

void read_queue_dir(const YamlSection& section, const std::string& state_dir, QueueConfig& queue) {
  if (queue.backend != StoreBackend::rocksdb) {
    refuse_foreign(section, "rocksdb_dir", queue.backend);
    refuse_foreign(section, "yaque_dir", queue.backend);
    return;
  }
  if (section.has_value("rocksdb_dir") && section.has_value("yaque_dir")) {
    section.fail_value("yaque_dir", "is a second name of rocksdb_dir: write one of them");
    return;
  }
  queue.rocksdb_dir = joined(state_dir, "queue");
  if (auto folder = nullable_path(section, "yaque_dir")) queue.rocksdb_dir = *folder;
  if (auto folder = nullable_path(section, "rocksdb_dir")) queue.rocksdb_dir = *folder;
}

std::optional<std::string> nullable_dsn(const YamlSection& section, std::string_view key) {
  if (!section.has_value(key)) return std::nullopt;
  return section.dsn(key);
}

std::string_view contradiction_of(StoreBackend backend) {
  switch (backend) {
    case StoreBackend::memory:
      return "contradicts backend memory, which forgets jobs when it stops: leave persistence out, "
             "or choose backend rocksdb or postgres";
    case StoreBackend::rocksdb:
      return "contradicts backend rocksdb, which keeps jobs on disk: leave persistence out, or "
             "choose backend memory";
    case StoreBackend::postgres:
      return "contradicts backend postgres, which keeps jobs in the database: leave persistence "
             "out, or choose backend memory";
  }
  return "";
}

QueueConfig read_queue(const YamlSection& section, const std::string& state_dir) {
  QueueConfig queue;
  queue.backend =
      section.word<StoreBackend>("backend", words::kStoreBackend).value_or(StoreBackend::rocksdb);
  queue.persistence = queue.backend != StoreBackend::memory;
  const auto persistence = section.boolean("persistence");
  if (persistence && *persistence != queue.persistence) {
    section.fail_value("persistence", std::string(contradiction_of(queue.backend)));
  }
  read_queue_dir(section, state_dir, queue);
  if (queue.backend == StoreBackend::postgres) {
    queue.postgres_url = nullable_dsn(section, "postgres_url").value_or("");
  } else {
    refuse_foreign(section, "postgres_url", queue.backend);
  }
  return queue;
}

// One database: the end of a job and its message are one transaction.
void resolve_urls(const YamlSection& queue_section, const YamlSection& mailbox_section,
                  QueueConfig& queue, MailboxConfig& mailbox) {
  mailbox.postgres_url = nullable_dsn(mailbox_section, "postgres_url").value_or("");
  const bool both = queue.backend == StoreBackend::postgres;
  if (both && mailbox.postgres_url.empty()) mailbox.postgres_url = queue.postgres_url;
  if (both && queue.postgres_url.empty()) queue.postgres_url = mailbox.postgres_url;
  if (mailbox.postgres_url.empty()) {
    (both ? queue_section : mailbox_section)
        .fail("backend",
              "postgres needs postgres_url beside it, without a password: "
              "postgresql://parkd@db1/parkd, or service=parkd");
  } else if (both && mailbox.postgres_url != queue.postgres_url) {
    mailbox_section.fail("postgres_url",
                         "differs from the queue's: a job's end and its message are one "
                         "transaction in one database; leave it out here");
  }
}

MailboxConfig read_mailbox(const YamlSection& section, const YamlSection& queue_section,
                           QueueConfig& queue, const ParkingLotKeys& keys) {
  MailboxConfig mailbox;
  mailbox.backend =
      section.word<StoreBackend>("backend", words::kStoreBackend).value_or(queue.backend);
  const bool outbox =
      queue.backend == StoreBackend::rocksdb && mailbox.backend == StoreBackend::postgres;
  if (mailbox.backend != queue.backend && !outbox) {
    section.fail_value("backend", "does not go with queue back end " +
                                      std::string(to_string(queue.backend)) +
                                      ": the pairs are memory + memory, rocksdb + rocksdb, "
                                      "postgres + postgres and rocksdb + postgres");
  }
  if (mailbox.backend == StoreBackend::postgres) {
    resolve_urls(queue_section, section, queue, mailbox);
  } else {
    refuse_foreign(section, "postgres_url", mailbox.backend);
  }
  mailbox.retention = resolve_retention(keys, queue.backend);
  return mailbox;
}

std::optional<std::string> read_name(const YamlSection& section, std::string_view key,
                                     size_t bytes_max) {
  auto name = section.text(key, bytes_max);
  if (!name) return std::nullopt;
  const bool good = name->find_first_not_of(
                        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                        "0123456789._-:/@") == std::string::npos;
  if (!good) {
    section.fail_value(key, "has other characters than " + std::string(kNameCharacters));
  }
  return name;
}

void read_device_ids(const YamlSection& section, ModelParams& params) {
  constexpr int64_t kDeviceIdMax = 63;
  for (const int64_t id :
       section.integers("device_ids", kDeviceIdMax + 1).value_or(std::vector<int64_t>{})) {
    if (id < 0 || id > kDeviceIdMax) {
      return section.fail("device_ids", "value " + std::to_string(id) + " is out of range (0 .. " +
                                            std::to_string(kDeviceIdMax) + ")");
    }
    const auto device = static_cast<int32_t>(id);
    const auto& known = params.device_ids;
    if (std::find(known.begin(), known.end(), device) != known.end()) {
      return section.fail("device_ids", "value " + std::to_string(id) + " is there twice");
    }
    params.device_ids.push_back(device);
  }
}

void read_sampling(const YamlSection& section, ModelParams& params) {
  for (const SamplingField& field : kSamplingFields) {
    if (!field.in_config || !section.has_value(field.name)) continue;
    const auto number = section.number(field.name, field.min, field.max);
    if (!number) continue;
    if (!is_within(field, *number)) {
      section.fail_value(field.name, "is out of range (above " + number_text(field.min) + " .. " +
                                         number_text(field.max) + ")");
    }
    params.sampling[field.name] = *number;
  }
  if (section.has_value("top_k")) {
    params.top_k = section.integer32("top_k", -1, 1000000);
    if (params.top_k == -1) params.top_k = 0;
  }
}

ModelParams read_params(const YamlSection& section) {
  constexpr int64_t kMemoryMbMax = 1 << 24;  // 16 TiB
  ModelParams params;
  params.dtype = section.word<Dtype>("dtype", words::kDtype).value_or(params.dtype);
  params.device = section.word<Device>("device", words::kDevice).value_or(params.device);
  read_device_ids(section, params);
  take_nullable(section, "kvcache_mem_gpu", 1, kMemoryMbMax, params.kvcache_mem_gpu_mb);
  take_nullable(section, "kvcache_mem_cpu", 1, kMemoryMbMax, params.kvcache_mem_cpu_mb);
  params.max_num_seqs = section.integer32("max_num_seqs", 1, 4096).value_or(params.max_num_seqs);
  params.block_size = section.integer32("block_size", 32, 256).value_or(params.block_size);
  if (params.block_size % 32 != 0) {
    section.fail_value("block_size", "is not a multiple of 32 (32 .. 256)");
  }
  if (section.has_value("prefill_chunk_size")) {
    params.prefill_chunk_size = section.integer32("prefill_chunk_size", 1, 65536);
  }
  params.tensor_core_attention =
      section.boolean("tensor_core_attention").value_or(params.tensor_core_attention);
  params.prefix_caching = section.boolean("prefix_caching").value_or(params.prefix_caching);
  params.prefix_sharing = section.word<PrefixSharing>("prefix_sharing", words::kPrefixSharing)
                              .value_or(params.prefix_sharing);
  if (!params.prefix_caching && params.prefix_sharing == PrefixSharing::all) {
    section.fail_value("prefix_sharing", "shares nothing where prefix_caching is false");
  }
  read_sampling(section, params);
  return params;
}

// A model's queue and mailbox back ends are the daemon's: a different one is refused, not ignored.
void check_model_backends(const YamlSection& queue, const YamlSection& mailbox,
                          const Config& config) {
  const std::string one =
      ", but a daemon has one queue and one mailbox: set it in the global "
      "parking_lot";
  const auto check = [&](const YamlSection& section, StoreBackend global) {
    const auto backend = section.word<StoreBackend>("backend", words::kStoreBackend);
    if (backend && *backend != global) {
      section.fail_value("backend",
                         "differs from the global " + std::string(to_string(global)) + one);
    }
  };
  check(queue, config.queue.backend);
  check(mailbox, config.mailbox.backend);
  for (const std::string_view key : {"persistence", "rocksdb_dir", "yaque_dir"}) {
    if (queue.has(key)) queue.fail_value(key, "is set for one model" + one);
  }
  for (const YamlSection* section : {&queue, &mailbox}) {
    if (section->has("postgres_url")) section->fail("postgres_url", "is set for one model" + one);
  }
}

void read_source(const YamlSection& section, ModelConfig& model) {
  if (section.has_value("hf_id")) {
    model.hf_id = read_name(section, "hf_id", kHfIdBytesMax).value_or("");
  }
  model.local_path = nullable_path(section, "local_path").value_or("");
  if (!section.has_value("hf_id") && !section.has_value("local_path")) {
    section.fail("", "missing source: set local_path or hf_id");
  }
}

ModelConfig read_model(const YamlSection& section, const Config& config,
                       const ParkingLotKeys& global) {
  ModelConfig model;
  if (!section.has("name")) section.fail("", "missing name");
  model.name = read_name(section, "name", kNameBytesMax).value_or("");
  read_source(section, model);
  model.params = read_params(section.section("params", "models[].params"));

  const YamlSection lot = section.section("parking_lot", "parking_lot");
  const YamlSection mailbox = lot.section("mailbox", "parking_lot.mailbox");
  ParkingLotKeys keys = global;
  read_pool(lot.section("pool", "parking_lot.pool"), keys.pool);
  read_limits(lot.section("limits", "parking_lot.limits"), keys.limits);
  read_retention(mailbox, keys);
  check_model_backends(lot.section("queue", "parking_lot.queue"), mailbox, config);

  model.pool = resolve(keys.pool);
  model.limits = resolve(keys.limits, config.queue.backend);
  model.retention = resolve_retention(keys, config.queue.backend);
  model.lot_jobs = config.daemon.lot_jobs.value_or(2 * model.params.max_num_seqs);
  return model;
}

bool is_word_of(const std::string& text, std::string_view extra, size_t bytes_max) {
  const std::string allowed =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789" + std::string(extra);
  return !text.empty() && text.size() <= bytes_max &&
         text.find_first_not_of(allowed) == std::string::npos;
}

void read_socket_mode(const YamlSection& section, DaemonConfig& daemon) {
  const auto mode = section.text("socket_mode", 8);
  if (!mode) return;
  if (mode->size() > 4 || mode->find_first_not_of("01234567") != std::string::npos ||
      std::stoul(*mode, nullptr, 8) > 0777) {
    section.fail_value("socket_mode", "is not an octal mode (0600 .. 0777)");
    return;
  }
  daemon.socket_mode = static_cast<uint32_t>(std::stoul(*mode, nullptr, 8));
  if ((daemon.socket_mode & 0600) != 0600) {
    section.fail_value("socket_mode", "is not an octal mode (0600 .. 0777)");
  }
}

void read_socket(const YamlSection& section, DaemonConfig& daemon) {
  // A state directory of one's own means a daemon of one's own, which may not write to /run.
  daemon.socket = section.has_value("state_dir") ? joined(daemon.state_dir, "parkd.sock")
                                                 : "/run/parkd/parkd.sock";
  if (auto path = nullable_path(section, "socket")) daemon.socket = *path;
  if (daemon.socket.size() > kSocketBytesMax) {
    section.fail("socket", "path \"" + daemon.socket + "\" is " +
                               std::to_string(daemon.socket.size()) + " bytes long, limit " +
                               std::to_string(kSocketBytesMax) + " (a Unix socket's address)");
  }
  read_socket_mode(section, daemon);
  if (!section.has_value("socket_group")) return;
  const auto group = section.text("socket_group", kGroupBytesMax);
  if (!group) return;
  daemon.socket_group = *group;
  if (!is_word_of(daemon.socket_group, "._-", kGroupBytesMax)) {
    section.fail_value("socket_group",
                       "is not a group's name or number (1 .. 32 letters, digits, . _ -)");
  } else if ((daemon.socket_mode & 0060) != 0060) {
    section.fail("socket_group",
                 "is given, but socket_mode does not let a group in: that takes both bits of 0060");
  }
}

void read_tenants(const YamlSection& section, DaemonConfig& daemon) {
  constexpr size_t kTenantBytesMax = 64;
  const std::string rule = "is not a tenant (1 .. 64 letters, digits, . _ -)";
  daemon.tenants = section.text_map("tenants", kTenantsMax);
  for (const auto& [user, tenant] : daemon.tenants) {
    if (!is_word_of(user, "._-", 32)) {
      section.fail("tenants", "\"" + user.substr(0, 32) + "\" is not a uid or user name");
    }
    if (!is_word_of(tenant, "._-", kTenantBytesMax)) {
      section.fail("tenants", "value \"" + tenant.substr(0, kTenantBytesMax) + "\" " + rule);
    }
  }
  if (!section.has_value("critical_tenants")) return;
  daemon.critical_tenants =
      section.texts("critical_tenants", kTenantsMax).value_or(std::vector<std::string>{});
  for (const std::string& tenant : daemon.critical_tenants) {
    if (!is_word_of(tenant, "._-", kTenantBytesMax)) {
      section.fail("critical_tenants",
                   "value \"" + tenant.substr(0, kTenantBytesMax) + "\" " + rule);
    }
  }
}

PostgresConfig read_postgres(const YamlSection& section) {
  PostgresConfig p;
  const auto ms = [&](std::string_view key, int64_t min, int64_t max,
                      std::chrono::milliseconds otherwise) {
    return std::chrono::milliseconds(section.integer(key, min, max).value_or(otherwise.count()));
  };
  p.listen_dsn = nullable_dsn(section, "listen_dsn").value_or("");
  p.transaction_pooling = section.boolean("transaction_pooling").value_or(p.transaction_pooling);
  p.listen = section.boolean("listen").value_or(p.listen);
  p.poll = ms("poll_ms", 100, 10'000, p.poll);
  p.beat = ms("beat_ms", 100, 60'000, p.beat);
  p.ttl = ms("ttl_ms", 1000, 600'000, p.ttl);
  p.verb_limit = ms("verb_limit_ms", 100, 60'000, p.verb_limit);
  p.statement_limit = ms("statement_limit_ms", 1000, 600'000, p.statement_limit);
  // A daemon gives itself up after two thirds of the ttl: less would forgive no lost heartbeat.
  if (p.ttl < 3 * p.beat) {
    section.fail(section.has("ttl_ms") ? "ttl_ms" : "beat_ms",
                 "ttl_ms, " + std::to_string(p.ttl.count()) +
                     ", must be at least 3 * beat_ms, which is " +
                     std::to_string(3 * p.beat.count()));
  }
  if (p.transaction_pooling && p.listen && p.listen_dsn.empty()) {
    section.fail("transaction_pooling",
                 "notifications do not pass a pooler that shares sessions: set listen_dsn straight "
                 "to the server, or listen: false");
  }
  return p;
}

DaemonConfig read_daemon(const YamlSection& section) {
  DaemonConfig d;
  d.state_dir = nullable_path(section, "state_dir").value_or(d.state_dir);
  read_socket(section, d);
  d.log_level = section.word<LogLevel>("log_level", words::kLogLevel).value_or(d.log_level);
  d.log_format = section.word<LogFormat>("log_format", words::kLogFormat).value_or(d.log_format);
  d.drain_timeout = seconds(section.integer("drain_timeout_s", 0, 3600).value_or(30));
  if (section.has_value("lot_jobs")) d.lot_jobs = section.integer32("lot_jobs", 1, 100000);
  d.max_body_bytes =
      section.integer("max_body_bytes", 1 << 10, 64 << 20).value_or(d.max_body_bytes);
  d.max_request_bytes =
      section.integer("max_request_bytes", 1 << 10, 128 << 20).value_or(d.max_request_bytes);
  if (section.has("max_body_bytes") && d.max_body_bytes > d.max_request_bytes) {
    section.fail_value("max_body_bytes",
                       "is above daemon.max_request_bytes, " + std::to_string(d.max_request_bytes));
  } else if (d.max_body_bytes > d.max_request_bytes) {
    section.fail_value("max_request_bytes",
                       "is below daemon.max_body_bytes, " + std::to_string(d.max_body_bytes));
  }
  d.max_batch_jobs = section.integer("max_batch_jobs", 1, 1000000).value_or(d.max_batch_jobs);
  d.max_open_batches = section.integer("max_open_batches", 1, 1000000).value_or(d.max_open_batches);
  d.max_batches_bytes =
      section.integer("max_batches_bytes", 1 << 20, int64_t{1} << 36).value_or(d.max_batches_bytes);
  d.connections_max = section.integer32("connections_max", 32, 65536).value_or(d.connections_max);
  d.step_tokens = section.integer32("step_tokens", 1, 65536).value_or(d.step_tokens);
  d.cpu_isa = section.word<CpuIsa>("cpu_isa", words::kCpuIsa).value_or(d.cpu_isa);
  read_tenants(section, d);
  d.finish_batch =
      std::chrono::milliseconds(section.integer("finish_batch_ms", 0, 1000).value_or(5));
  d.watchdog_stall = seconds(section.integer("watchdog_stall_s", 5, 3600).value_or(120));
  d.history_days = section.integer32("history_days", 1, 3650).value_or(d.history_days);
  if (section.has_value("min_free_disk_mb")) {
    d.min_free_disk_mb = section.integer("min_free_disk_mb", 0, 1 << 24);
  }
  d.postgres = read_postgres(section.section("postgres", "daemon.postgres"));
  return d;
}

void read_models(const YamlSection& root, const ParkingLotKeys& global, Config& config) {
  const auto sections = root.sections("models", "models[]", kModelsMax);
  if (sections.empty()) root.fail("models", "at least one model is needed");
  std::set<std::string> names;
  for (const YamlSection& section : sections) {
    config.models.push_back(read_model(section, config, global));
    if (!names.insert(config.models.back().name).second) {
      section.fail_value("name", "is the name of an earlier model: names are unique");
    }
  }
  if (root.has_value("default_model")) {
    config.default_model = root.text("default_model", kNameBytesMax).value_or("");
    if (config.find_model(config.default_model) == nullptr) {
      root.fail_value("default_model", "is not a name in models");
    }
  } else if (config.models.size() == 1) {
    config.default_model = config.models[0].name;
  }
}

Config read_config(const YamlSection& root) {
  Config config;
  config.daemon = read_daemon(root.section("daemon", "daemon"));
  const YamlSection lot = root.section("parking_lot", "parking_lot");
  const YamlSection mailbox = lot.section("mailbox", "parking_lot.mailbox");
  ParkingLotKeys keys;
  read_pool(lot.section("pool", "parking_lot.pool"), keys.pool);
  read_limits(lot.section("limits", "parking_lot.limits"), keys.limits);
  read_retention(mailbox, keys);
  const YamlSection queue = lot.section("queue", "parking_lot.queue");
  config.queue = read_queue(queue, config.daemon.state_dir);
  config.mailbox = read_mailbox(mailbox, queue, config.queue, keys);
  config.pool = resolve(keys.pool);
  config.limits = resolve(keys.limits, config.queue.backend);
  read_models(root, keys, config);
  return config;
}

}  // namespace

const ModelConfig* Config::find_model(std::string_view name) const {
  for (const ModelConfig& model : models) {
    if (model.name == name) return &model;
  }
  return nullptr;
}

ConfigInputs process_inputs() {
  const auto environment = [](std::string_view name) -> std::optional<std::string> {
    const char* value = std::getenv(std::string(name).c_str());
    if (value == nullptr) return std::nullopt;
    return std::string(value);
  };
  return {environment};
}

Result<Config> load_config(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return not_found(path + ": cannot be opened");
  // One byte more than allowed is enough to see that it is too long.
  std::string text(kFileBytesMax + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.bad()) return invalid(path + ": cannot be read");
  text.resize(static_cast<size_t>(file.gcount()));
  return parse_config(text, path);
}

Result<Config> parse_config(std::string_view text, const std::string& file_name) {
  return parse_config(text, file_name, process_inputs());
}

Result<Config> parse_config(std::string_view text, const std::string& file_name,
                            const ConfigInputs& inputs) {
  if (text.size() > kFileBytesMax) {
    return invalid(file_name + ": more than " + std::to_string(kFileBytesMax) + " bytes");
  }
  YamlReader reader(file_name, inputs);
  try {
    const YamlSection root(reader, reader.load(text), "", "");
    Config config = read_config(root);
    if (!reader.ok()) return reader.status();
    return config;
  } catch (const YAML::Exception& error) {
    if (reader.ok()) reader.fail_syntax(text, error);
    return reader.status();
  }
}

std::vector<std::string> config_notes(const Config& config) {
  std::vector<std::string> notes;
  if (!config.uses_postgres() && config.daemon.postgres != PostgresConfig{}) {
    notes.push_back("daemon.postgres is set, but neither queue nor mailbox is in PostgreSQL");
  }
  for (const ModelConfig& model : config.models) {
    if (model.params.kvcache_mem_cpu_mb || model.params.device == Device::cuda) continue;
    const std::string mb = std::to_string(model.params.kv_memory_mb()) + " MiB";
    notes.push_back("model " + model.name +
                    ": kvcache_mem_cpu is left out; on the CPU the KV cache takes " +
                    (model.params.kvcache_mem_gpu_mb ? "kvcache_mem_gpu, " + mb + ", of main memory"
                                                     : "the default " + mb));
  }
  return notes;
}

std::vector<std::string> known_config_keys() {
  std::vector<std::string> names;
  for (const ConfigKey& key : config_keys()) {
    if (key.kind != KeyKind::value) continue;
    names.push_back((key.section.empty() ? "" : std::string(key.section) + ".") +
                    std::string(key.key));
  }
  return names;
}

}  // namespace parkd
