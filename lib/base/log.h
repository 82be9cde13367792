// Structured log: one event, then key=value pairs, on one line (or as one JSON object).
//
//   log_info("job.finished", {{"id", id}, {"outcome", "completed"}, {"run_ms", 840}});
//
// error = an operator must act; warn = we healed it ourselves; info = one to three lines a job;
// debug = per step. Never prompt or output text: sizes and hashes only. Thread-safe; the logger is
// the program's one global. spdlog is behind log.cc and nowhere else.
#pragma once

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <variant>

namespace parkd {

enum class LogLevel { debug, info, warn, error };
enum class LogFormat { text, json };

struct LogField {
  using Value = std::variant<int64_t, double, bool, std::string>;

  template <std::integral T>
  LogField(std::string_view k, T v) : key(k), value(make(v)) {}
  LogField(std::string_view k, double v) : key(k), value(v) {}
  LogField(std::string_view k, std::string v) : key(k), value(std::move(v)) {}
  LogField(std::string_view k, std::string_view v) : key(k), value(std::string(v)) {}
  LogField(std::string_view k, const char* v) : key(k), value(std::string(v)) {}

  std::string_view key;
  Value value;

 private:
  template <std::integral T>
  static Value make(T v) {
    if constexpr (std::same_as<T, bool>) {
      return v;
    } else {
      return static_cast<int64_t>(v);
    }
  }
};

using LogFields = std::initializer_list<LogField>;

// Sets level and format; log lines go to stderr. Call once, before threads start.
void configure_log(LogLevel level, LogFormat format);

// Whether lines of this level are written: for who would have to make much text for one.
bool is_logged(LogLevel level);

void log_debug(std::string_view event, LogFields fields);
void log_info(std::string_view event, LogFields fields);
void log_warn(std::string_view event, LogFields fields);
void log_error(std::string_view event, LogFields fields);

// The line that `event` and `fields` become, without time and level (for tests).
std::string format_log_line(LogFormat format, std::string_view event, LogFields fields);

}  // namespace parkd
