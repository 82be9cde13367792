#include "lib/store/rocksdb/info_log.h"

#include <rocksdb/env.h>

#include <cstdarg>
#include <cstdio>
#include <filesystem>
#include <system_error>
#include <vector>

#include "lib/base/log.h"

namespace parkd {
namespace {

class InfoLog final : public rocksdb::Logger {
 public:
  explicit InfoLog(std::string dir)
      : Logger(is_logged(LogLevel::debug) ? rocksdb::INFO_LEVEL : rocksdb::WARN_LEVEL),
        dir_(std::move(dir)) {}

  void LogHeader(const char* format, va_list arguments) override {
    Logv(rocksdb::INFO_LEVEL, format, arguments);
  }
  void Logv(const char* format, va_list arguments) override {
    Logv(rocksdb::INFO_LEVEL, format, arguments);
  }
  void Logv(const rocksdb::InfoLogLevel level, const char* format, va_list arguments) override {
    if (level < GetInfoLogLevel()) return;
    if (level == rocksdb::HEADER_LEVEL && !is_logged(LogLevel::debug)) return;
    const std::string text = printed(format, arguments);
    if (level == rocksdb::WARN_LEVEL) {
      log_warn("rocksdb", {{"dir", dir_}, {"text", text}});
    } else if (level == rocksdb::ERROR_LEVEL || level == rocksdb::FATAL_LEVEL) {
      log_error("rocksdb", {{"dir", dir_}, {"text", text}});
    } else {
      log_debug("rocksdb", {{"dir", dir_}, {"text", text}});
    }
  }

 private:
  static std::string printed(const char* format, va_list arguments) {
    va_list again;
    va_copy(again, arguments);
    const int length = std::vsnprintf(nullptr, 0, format, arguments);
    std::string text(length > 0 ? static_cast<size_t>(length) : 0, '\0');
    if (length > 0) (void)std::vsnprintf(text.data(), text.size() + 1, format, again);
    va_end(again);
    while (!text.empty() && text.back() == '\n') text.pop_back();
    return text;
  }

  const std::string dir_;
};

}  // namespace

std::shared_ptr<rocksdb::Logger> rocksdb_info_log(const std::string& dir) {
  return std::make_shared<InfoLog>(dir);
}

void remove_old_info_logs(const std::string& dir) {
  std::error_code none;
  std::vector<std::filesystem::path> old;
  for (const auto& entry : std::filesystem::directory_iterator(dir, none)) {
    const std::string name = entry.path().filename().string();
    if (name == "LOG" || name.rfind("LOG.old.", 0) == 0) old.push_back(entry.path());
  }
  for (const auto& path : old) std::filesystem::remove(path, none);
}

}  // namespace parkd
