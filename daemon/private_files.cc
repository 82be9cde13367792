#include "daemon/private_files.h"

#include <sys/stat.h>

#include <filesystem>

#include "lib/base/log.h"

namespace parkd {

void keep_files_private() {
  ::umask(0077);
}

Status make_state_directory(const std::string& path) {
  constexpr mode_t kMode = 0711;
  std::error_code error;
  const bool made = std::filesystem::create_directories(path, error);
  if (error) {
    return invalid_param("daemon.state_dir", "cannot make " + path + ": " + error.message());
  }
  if (made) {
    ::chmod(path.c_str(), kMode);  // ours since a moment ago; refused, it stays 0700
    return {};
  }
  struct stat there {};
  if (::stat(path.c_str(), &there) == 0 && (there.st_mode & 0777 & ~kMode) != 0) {
    log_warn("daemon.state_dir_is_open",
             {{"state_dir", path},
              {"why",
               "others than its owner may list or change it; what parkd makes in it is "
               "its own alone, what older versions made may be readable"},
              {"do", "chmod 711 " + path + "; chmod -R go-rwx " + path + "/queue"}});
  }
  return {};
}

}  // namespace parkd
