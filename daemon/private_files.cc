#include "daemon/private_files.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <optional>

#include "lib/base/log.h"
#include "lib/config/values.h"

namespace parkd {
namespace {

constexpr mode_t kStateDirMode = 0711;

// What is wrong with a place whose mode should have none of `excess`; nothing where it is missing.
std::optional<OpenPlace> look_at(const std::string& param, const std::string& path, mode_t excess,
                                 const std::string& what_others_may, const std::string& chmod) {
  struct stat there {};
  if (::stat(path.c_str(), &there) != 0) return std::nullopt;
  if (there.st_uid != 0 && there.st_uid != ::geteuid()) {
    return OpenPlace{param, path,
                     "it belongs to uid " + std::to_string(there.st_uid) +
                         ", who is neither root nor parkd's own user",
                     "chown " + std::to_string(::geteuid()) + " " + path};
  }
  const bool kept_apart = (there.st_mode & S_ISVTX) != 0 && excess == 0022;  // as in /tmp
  if ((there.st_mode & excess) == 0 || kept_apart) return std::nullopt;
  return OpenPlace{param, path,
                   "its mode is " + octal(there.st_mode & 0777) + ": others than its owner may " +
                       what_others_may,
                   chmod + " " + path};
}

}  // namespace

void keep_files_private() {
  ::umask(0077);
}

void forbid_core_dumps() {
  // 0 would do for files; a helper behind core_pattern is run all the same, but not at 1, by which
  // the kernel knows its own helpers. A core needs more than that byte.
  rlimit limit{};
  if (::getrlimit(RLIMIT_CORE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max == 0 ? 0 : 1;
  ::setrlimit(RLIMIT_CORE, &limit);
}

Status make_state_directory(const std::string& path) {
  std::error_code error;
  const bool made = std::filesystem::create_directories(path, error);
  if (error) {
    return invalid_param("daemon.state_dir", "cannot make " + path + ": " + error.message());
  }
  if (made)
    ::chmod(path.c_str(), kStateDirMode);  // ours since a moment ago; refused: it stays 0700
  return {};
}

std::vector<OpenPlace> open_places(const Config& config, const std::string& config_path) {
  const std::string& state = config.daemon.state_dir;
  std::vector<OpenPlace> places;
  const auto add = [&](std::optional<OpenPlace> place) {
    if (place) places.push_back(std::move(*place));
  };
  add(look_at("daemon.state_dir", state, 0777 & ~kStateDirMode, "list or change it", "chmod 711"));
  if (config.queue.backend == StoreBackend::rocksdb) {
    add(look_at("parking_lot.queue.rocksdb_dir", config.queue.rocksdb_dir, 0077,
                "read prompts and answers in it", "chmod -R go-rwx"));
  }
  const std::string sockets = std::filesystem::path(config.daemon.socket).parent_path();
  if (sockets != state) {
    add(look_at("daemon.socket", sockets.empty() ? "." : sockets, 0022,
                "put a socket of their own in the place of parkd's", "chmod go-w"));
  }
  if (!config.daemon.tokens_file.empty()) {
    add(look_at("daemon.tokens_file", config.daemon.tokens_file, 0137, "read or change it",
                "chmod 0600"));
  }
  for (const WebhookConfig& webhook : config.daemon.webhooks) {
    add(look_at("daemon.webhooks[].secret_file", webhook.secret_file, 0137, "read or change it",
                "chmod 0600"));
  }
  add(look_at("--config", config_path, 0022, "change what parkd does", "chmod go-w"));
  return places;
}

Status report_open_places(const std::vector<OpenPlace>& places, bool strict) {
  for (const OpenPlace& place : places) {
    if (strict) {
      return invalid_param(place.param, place.path + " is open to others, and --strict is given: " +
                                            place.why + ". Type: " + place.remedy);
    }
    log_warn("daemon.open_to_others",
             {{"path", place.path}, {"why", place.why}, {"do", place.remedy}});
  }
  return {};
}

}  // namespace parkd
