#include "lib/base/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <memory>

#include "lib/base/clock.h"
#include "lib/base/json_writer.h"

namespace parkd {
namespace {

std::atomic<LogFormat> format_in_use{LogFormat::text};

spdlog::logger& logger() {
  static const std::shared_ptr<spdlog::logger> instance = [] {
    auto made = spdlog::stderr_logger_mt("parkd");
    made->set_pattern("%v");
    made->set_level(spdlog::level::info);
    made->flush_on(spdlog::level::info);
    return made;
  }();
  return *instance;
}

spdlog::level::level_enum spdlog_level(LogLevel level) {
  constexpr spdlog::level::level_enum kLevels[] = {spdlog::level::debug, spdlog::level::info,
                                                   spdlog::level::warn, spdlog::level::err};
  return kLevels[static_cast<int>(level)];
}

bool needs_quotes(std::string_view text) {
  if (text.empty()) return true;
  for (const char c : text) {
    if (c <= ' ' || c == '"' || c == '=' || c == '\\' || c == '\x7f') return true;
  }
  return false;
}

void append_value(std::string& line, const LogField::Value& value) {
  if (const auto* number = std::get_if<int64_t>(&value)) {
    line += std::to_string(*number);
  } else if (const auto* real = std::get_if<double>(&value)) {
    line += fmt::format("{:.6g}", *real);
  } else if (const auto* flag = std::get_if<bool>(&value)) {
    line += *flag ? "true" : "false";
  } else {
    const auto& text = std::get<std::string>(value);
    line += needs_quotes(text) ? json_string(text) : text;
  }
}

void write_member(JsonWriter& json, const LogField& field) {
  if (const auto* number = std::get_if<int64_t>(&field.value)) {
    json.member(field.key, *number);
  } else if (const auto* real = std::get_if<double>(&field.value)) {
    json.member(field.key, SixDigits{*real});
  } else if (const auto* flag = std::get_if<bool>(&field.value)) {
    json.member(field.key, *flag);
  } else {
    json.member(field.key, std::get<std::string>(field.value));
  }
}

void write(spdlog::level::level_enum level, std::string_view event, LogFields fields) {
  if (!logger().should_log(level)) return;
  const LogFormat format = format_in_use.load(std::memory_order_relaxed);
  const auto now = std::chrono::time_point_cast<Micros>(std::chrono::system_clock::now());
  const std::string time = to_rfc3339(now);
  const auto level_name = spdlog::level::to_string_view(level);
  const std::string_view word(level_name.data(), level_name.size());
  const std::string line = format_log_line(format, event, fields);
  if (format == LogFormat::json) {
    logger().log(level, R"({{"time":"{}","level":"{}",{})", time, word,
                 std::string_view(line).substr(1));
  } else {
    logger().log(level, "{} {} {}", time, word, line);
  }
}

}  // namespace

std::string format_log_line(LogFormat format, std::string_view event, LogFields fields) {
  if (format == LogFormat::json) {
    JsonWriter json;
    json.begin_object().member("event", event);
    for (const LogField& field : fields) write_member(json, field);
    return json.end_object().take();
  }
  std::string line(event);
  for (const LogField& field : fields) {
    line += ' ';
    line += field.key;
    line += '=';
    append_value(line, field.value);
  }
  return line;
}

void configure_log(LogLevel level, LogFormat format) {
  format_in_use = format;
  logger().set_level(spdlog_level(level));
}

bool is_logged(LogLevel level) {
  return logger().should_log(spdlog_level(level));
}

void log_debug(std::string_view event, LogFields fields) {
  write(spdlog::level::debug, event, fields);
}
void log_info(std::string_view event, LogFields fields) {
  write(spdlog::level::info, event, fields);
}
void log_warn(std::string_view event, LogFields fields) {
  write(spdlog::level::warn, event, fields);
}
void log_error(std::string_view event, LogFields fields) {
  write(spdlog::level::err, event, fields);
}

}  // namespace parkd
