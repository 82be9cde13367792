#include "tools/bench/report.h"

#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <fstream>

#include "lib/base/check.h"
#include "lib/base/json_writer.h"
#include "lib/base/thread.h"

namespace parkd::bench {
namespace {

std::string cpu_model() {
  std::ifstream file("/proc/cpuinfo");
  std::string line;
  while (std::getline(file, line)) {
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

std::string build_name() {
#ifdef NDEBUG
  return "release";
#else
  return "debug";
#endif
}

std::string commit() {
  FILE* git = ::popen("git -C '" PARKD_SOURCE_DIR "' describe --always --dirty 2>/dev/null", "r");
  std::array<char, 64> line{};
  const bool is_known = git != nullptr && std::fgets(line.data(), line.size(), git) != nullptr;
  if (git != nullptr) ::pclose(git);
  const std::string text = is_known ? line.data() : "unknown";
  return text.substr(0, text.find('\n'));
}

}  // namespace

std::string machine_line(const Settings& settings) {
  if (settings.json) return {};
  return cpu_model() + ", " + std::to_string(usable_cores()) + " cores; " + build_name() +
         " build; " + commit() + "; medians of " + std::to_string(settings.runs) + "\n";
}

BenchResult& BenchResult::figure(std::string key, double value) {
  figures.emplace_back(std::move(key), value);
  return *this;
}

BenchResult& BenchResult::label(std::string key, std::string value) {
  labels.emplace_back(std::move(key), std::move(value));
  return *this;
}

double BenchResult::at(const std::string& key) const {
  for (const auto& [name_of_figure, value] : figures) {
    if (name_of_figure == key) return value;
  }
  PARKD_CHECK(false, "no figure " + key + " in " + name);
}

double percentile_of(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  const auto rank = static_cast<size_t>(share * static_cast<double>(values.size() - 1) + 0.5);
  std::nth_element(values.begin(), values.begin() + static_cast<ptrdiff_t>(rank), values.end());
  return values[rank];
}

double median_of(std::vector<double> values) {
  return percentile_of(std::move(values), 0.5);
}

BenchResult median(std::vector<BenchResult> runs) {
  PARKD_CHECK(!runs.empty(), "a median needs a run");
  BenchResult result = runs.front();
  for (auto& [key, value] : result.figures) {
    std::vector<double> values;
    for (const BenchResult& run : runs) values.push_back(run.at(key));
    value = median_of(std::move(values));
  }
  return result;
}

double peak_rss_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) * 1024;
}

void print(const Settings& settings, const BenchResult& result) {
  std::string line;
  if (settings.json) {
    JsonWriter json;
    json.begin_object().member("benchmark", result.name);
    for (const auto& [key, value] : result.figures) json.member(key, SixDigits{value});
    auto labels = result.labels;
    labels.emplace_back("cpu", cpu_model());
    labels.emplace_back("build", build_name());
    static const std::string kCommit = commit();
    labels.emplace_back("commit", kCommit);
    for (const auto& [key, value] : labels) json.member(key, value);
    line = json.end_object().take();
  } else {
    char text[96];
    std::snprintf(text, sizeof text, "%-24s", result.name.c_str());
    line = text;
    for (const auto& [key, value] : result.figures) {
      std::snprintf(text, sizeof text, " %s=%.4g", key.c_str(), value);
      line += text;
    }
    for (const auto& [key, value] : result.labels) line += " " + key + "=" + value;
  }
  std::puts(line.c_str());
  std::fflush(stdout);
}

}  // namespace parkd::bench
