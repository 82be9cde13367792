#include "lib/config/read_daemon.h"

#include "lib/config/read_tcp.h"
#include "lib/config/read_webhooks.h"
#include "lib/config/values.h"
#include "lib/config/words.h"

namespace parkd {
namespace {

using std::chrono::seconds;

constexpr size_t kTenantsMax = 10000;
constexpr size_t kGroupBytesMax = 32;    // as groupadd has it
constexpr size_t kSocketBytesMax = 107;  // sun_path of sockaddr_un, less its final zero byte

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
  daemon.tenants = section.text_map("tenants", kTenantsMax);
  for (const auto& [user, tenant] : daemon.tenants) {
    if (!is_word_of(user, "._-", 32)) {
      section.fail("tenants", "\"" + user.substr(0, 32) + "\" is not a uid or user name");
    }
    if (!is_tenant(tenant)) {
      section.fail("tenants", "value \"" + tenant.substr(0, kTenantBytesMax) + "\" " + kTenantRule);
    }
  }
  if (!section.has_value("critical_tenants")) return;
  daemon.critical_tenants =
      section.texts("critical_tenants", kTenantsMax).value_or(std::vector<std::string>{});
  for (const std::string& tenant : daemon.critical_tenants) {
    if (!is_tenant(tenant)) {
      section.fail("critical_tenants",
                   "value \"" + tenant.substr(0, kTenantBytesMax) + "\" " + kTenantRule);
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

FilesConfig read_files(const YamlSection& section) {
  FilesConfig f;
  f.max_file_mb = section.integer("max_file_mb", 1, 1024).value_or(f.max_file_mb);
  f.max_total_mb = section.integer("max_total_mb", 1024, 1 << 24).value_or(f.max_total_mb);
  f.max_files = section.integer("max_files", 1, 100'000).value_or(f.max_files);
  f.max_uploads = section.integer("max_uploads", 1, 1000).value_or(f.max_uploads);
  return f;
}

}  // namespace

DaemonConfig read_daemon(const YamlSection& section) {
  DaemonConfig d;
  d.state_dir = nullable_path(section, "state_dir").value_or(d.state_dir);
  read_socket(section, d);
  read_tcp(section, d);
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
  take_nullable(section, "step_tokens", 1, 65536, d.step_tokens);
  d.cpu_isa = section.word<CpuIsa>("cpu_isa", words::kCpuIsa).value_or(d.cpu_isa);
  d.cuda_libraries = nullable_path(section, "cuda_libraries").value_or("");
  read_tenants(section, d);
  d.finish_batch =
      std::chrono::milliseconds(section.integer("finish_batch_ms", 0, 1000).value_or(5));
  d.watchdog_stall = seconds(section.integer("watchdog_stall_s", 5, 3600).value_or(120));
  d.history_days = section.integer32("history_days", 1, 3650).value_or(d.history_days);
  if (section.has_value("min_free_disk_mb")) {
    d.min_free_disk_mb = section.integer("min_free_disk_mb", 0, 1 << 24);
  }
  if (section.has_value("memory_mb")) d.memory_mb = section.integer("memory_mb", 1, 1 << 24);
  d.switch_wait = seconds(section.integer("switch_wait_s", 0, 86400).value_or(600));
  d.interactive_timeout = seconds(section.integer("interactive_timeout_s", 1, 86400).value_or(600));
  d.interactive_run_timeout =
      seconds(section.integer("interactive_run_timeout_s", 1, 86400).value_or(120));
  d.stream_grace = seconds(section.integer("stream_grace_s", 0, 86400).value_or(60));
  read_webhooks(section, d);
  d.files = read_files(section.section("files", "daemon.files"));
  d.postgres = read_postgres(section.section("postgres", "daemon.postgres"));
  return d;
}

}  // namespace parkd
