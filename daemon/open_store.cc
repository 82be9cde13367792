#include "daemon/open_store.h"

#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "daemon/health/disk_room.h"
#include "lib/base/disk_space.h"
#include "lib/base/log.h"
#include "lib/store/folder/folder_files.h"
#include "lib/store/job_store.h"
#include "lib/store/memory/memory_store.h"
#include "lib/store/rocksdb/rocksdb_store.h"
#ifdef PARKD_HAVE_POSTGRES
#include "lib/store/outbox/outbox_store.h"
#include "lib/store/postgres/dsn.h"
#include "lib/store/postgres/postgres_files.h"
#include "lib/store/postgres/postgres_store.h"
#endif

namespace parkd {
namespace {

StoreOptions store_options(const Config& config) {
  StoreOptions options;
  options.retention_default = config.mailbox.retention;
  options.history_retention = std::chrono::hours(24) * config.daemon.history_days;
  options.batch_jobs_max = config.daemon.max_batch_jobs;
  const auto limits = [](const LimitsConfig& given) {
    return DepthLimits{given.max_queue_depth, given.max_queued_per_tenant,
                       given.max_scheduled_per_tenant};
  };
  options.open_batches_max = config.daemon.max_open_batches;
  options.batches_bytes_max = config.daemon.max_batches_bytes;
  options.limits = limits(config.limits);
  for (const ModelConfig& model : config.models) {
    options.limits_of_model[model.name] = limits(model.limits);
  }
  return options;
}

FileLimits file_limits(const Config& config) {
  const FilesConfig& given = config.daemon.files;
  FileLimits limits;
  limits.file_bytes_max = given.max_file_mb << 20;
  limits.tenant_bytes_max = given.max_total_mb << 20;
  limits.tenant_files_max = given.max_files;
  limits.tenant_uploads_max = given.max_uploads;
  const auto disk = disk_space(config.daemon.state_dir);
  if (disk) limits.min_free_disk_bytes = min_free_disk_bytes(config, *disk);
  return limits;
}

RocksDbStoreOptions rocksdb_options(const Config& config) {
  RocksDbStoreOptions options;
  options.store = store_options(config);
  options.dir = config.queue.rocksdb_dir;
  return options;
}

#ifdef PARKD_HAVE_POSTGRES

// After the drain timeout comes this; systemd's TimeoutStopSec has to hold both.
constexpr auto kStopLimit = std::chrono::milliseconds(5000);
constexpr std::string_view kCredential = "postgres_password";
constexpr std::streamsize kPasswordBytesMax = 4096;

std::string host_name() {
  char name[256] = {};
  if (::gethostname(name, sizeof name - 1) != 0) return "localhost";
  return name;
}

// A systemd credential (systemd.exec(5), LoadCredential=) becomes PGPASSWORD, where libpq looks
// first. libpq would not read it as a PGPASSFILE: the file may carry group bits.
Status take_password_credential() {
  const char* folder = std::getenv("CREDENTIALS_DIRECTORY");
  if (folder == nullptr) return {};
  const std::string path = std::string(folder) + "/" + std::string(kCredential);
  std::ifstream file(path, std::ios::binary);
  if (!file) return {};
  std::string password(kPasswordBytesMax + 1, '\0');
  file.read(password.data(), static_cast<std::streamsize>(password.size()));
  password.resize(static_cast<size_t>(file.gcount()));
  if (!password.empty() && password.back() == '\n') password.pop_back();
  if (password.empty() || password.size() > static_cast<size_t>(kPasswordBytesMax) ||
      password.find_first_of(std::string_view("\0\n\r", 3)) != std::string::npos) {
    return invalid("the credential " + path + " is not one line of 1 to " +
                   std::to_string(kPasswordBytesMax) + " bytes");
  }
  ::setenv("PGPASSWORD", password.c_str(), 1);
  log_info("postgres.credential", {{"path", path}});
  return {};
}

PostgresOptions postgres_options(const Config& config, SharedStoreCallbacks callbacks) {
  const PostgresConfig& given = config.daemon.postgres;
  PostgresOptions options;
  options.dsn = config.mailbox.postgres_url;
  options.listen_dsn = given.listen_dsn;
  options.transaction_pooling = given.transaction_pooling;
  options.listen = given.listen;
  options.poll = std::chrono::milliseconds(0);  // the dispatcher polls
  options.beat = given.beat;
  options.ttl = given.ttl;
  options.verb_limit = given.verb_limit;
  options.statement_limit = given.statement_limit;
  options.stop_limit = kStopLimit;
  options.host = host_name();
  options.version = PARKD_VERSION;
  options.status = std::move(callbacks.status);
  options.draining = std::move(callbacks.draining);
  options.ownership_lost = std::move(callbacks.ownership_lost);
  return options;
}

Status check_urls(const Config& config) {
  for (const auto& [key, url] : {std::pair("postgres_url", config.mailbox.postgres_url),
                                 std::pair("listen_dsn", config.daemon.postgres.listen_dsn)}) {
    if (url.empty()) continue;
    const auto target = parse_dsn(url);
    if (!target.ok()) return Status(target.status()).with_param(key);
    if (target->has_password) return invalid_param(key, "the connection string holds a password");
  }
  return {};
}

std::string shell_quoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text) c == '\'' ? out += "'\\''" : out += c;
  return out + "'";
}

// A schema we do not know: the command, whole, ready to be pasted.
Status with_command(const Status& status, const std::string& url) {
  for (const std::string_view command : {"jobctl migrate up", "jobctl migrate status"}) {
    const std::string& text = status.message();
    if (text.size() < command.size() ||
        text.compare(text.size() - command.size(), command.size(), command) != 0) {
      continue;
    }
    return Status(status.code(), text + " --dsn " + shell_quoted(url));
  }
  return status;
}

Result<std::unique_ptr<JobStore>> open_shared(const Config& config, Clock& clock,
                                              SharedStoreCallbacks callbacks) {
  PARKD_RETURN_IF_ERROR(take_password_credential());
  PostgresOptions postgres = postgres_options(config, std::move(callbacks));
  auto store = config.queue.backend == StoreBackend::postgres
                   ? open_postgres_store(std::move(postgres), store_options(config))
                   : open_outbox_store({rocksdb_options(config), std::move(postgres)}, clock);
  if (!store.ok()) return with_command(store.status(), config.mailbox.postgres_url);
  return store;
}

#endif

}  // namespace

Status check_store(const Config& config) {
  if (!config.uses_postgres()) return {};
#ifdef PARKD_HAVE_POSTGRES
  return check_urls(config);
#else
  return invalid(
      "a back end is postgres, but this parkd was built without libpqxx: "
      "install libpqxx-dev and build it again, or choose backend rocksdb");
#endif
}

std::string database_name([[maybe_unused]] const Config& config) {
#ifdef PARKD_HAVE_POSTGRES
  if (config.uses_postgres()) {
    const auto target = parse_dsn(config.mailbox.postgres_url);
    if (target.ok()) return to_string(*target);
  }
#endif
  return "";
}

Result<std::shared_ptr<FileStore>> open_files(const Config& config, Clock& clock) {
  if (config.queue.backend == StoreBackend::memory) return std::shared_ptr<FileStore>();
  std::unique_ptr<FileStore> files;
#ifdef PARKD_HAVE_POSTGRES
  if (config.queue.backend == StoreBackend::postgres) {
    PARKD_ASSIGN_OR_RETURN(files,
                           open_postgres_files(postgres_options(config, {}), file_limits(config)));
    return std::shared_ptr<FileStore>(std::move(files));
  }
#endif
  PARKD_ASSIGN_OR_RETURN(
      files, open_folder_files({config.daemon.state_dir + "/files", file_limits(config)}, clock));
  return std::shared_ptr<FileStore>(std::move(files));
}

Result<std::unique_ptr<JobStore>> open_store(const Config& config, Clock& clock,
                                             [[maybe_unused]] SharedStoreCallbacks callbacks) {
  PARKD_RETURN_IF_ERROR(check_store(config));
#ifdef PARKD_HAVE_POSTGRES
  if (config.uses_postgres()) return open_shared(config, clock, std::move(callbacks));
#endif
  if (config.queue.backend == StoreBackend::memory) {
    return make_memory_store(store_options(config), clock);
  }
  return open_rocksdb_store(rocksdb_options(config), clock);
}

}  // namespace parkd
