#include "tools/jobctl/progress.h"

#include <unistd.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <cstdio>
#include <utility>
#include <vector>

#include "tools/jobctl/json_fields.h"
#include "tools/jobctl/table.h"

namespace parkd::jobctl {
namespace {

constexpr int kBarColumns = 30;
constexpr auto kBarEvery = std::chrono::milliseconds(100);
constexpr size_t kReasonsShown = 3;
constexpr auto kLineEvery = std::chrono::seconds(10);

std::string duration_text(double seconds) {
  const auto s = static_cast<int64_t>(seconds + 0.5);
  char text[32];
  if (s >= 3600) {
    std::snprintf(text, sizeof text, "%lldh%02lldm", static_cast<long long>(s / 3600),
                  static_cast<long long>(s / 60 % 60));
  } else {
    std::snprintf(text, sizeof text, "%lldm%02llds", static_cast<long long>(s / 60),
                  static_cast<long long>(s % 60));
  }
  return text;
}

int64_t tokens_of(const BatchCounts& counts) {
  return counts.prompt_tokens + counts.output_tokens;
}

std::string tokens_text(int64_t prompt, int64_t output) {
  return std::to_string(prompt) + " prompt + " + std::to_string(output) + " output tokens";
}

}  // namespace

std::string ending_text(const BatchCounts& counts, const BatchCounts& before, double elapsed_s,
                        const std::string& output) {
  std::string text = std::to_string(counts.done) + " results in " + output + ": " +
                     std::to_string(counts.done - counts.failed) + " completed, " +
                     std::to_string(counts.failed) + " failed, " +
                     std::to_string(counts.truncated) + " truncated by length; " +
                     tokens_text(counts.prompt_tokens, counts.output_tokens);
  if (before.done > 0) {
    text += "; of these, " + std::to_string(counts.done - before.done) + " results with " +
            tokens_text(counts.prompt_tokens - before.prompt_tokens,
                        counts.output_tokens - before.output_tokens) +
            " ended during this call,";
  }
  const double here = static_cast<double>(tokens_of(counts) - tokens_of(before));
  char rate[32];
  std::snprintf(rate, sizeof rate, "%.0f", here / std::max(0.001, elapsed_s));
  return text + " in " + duration_text(elapsed_s) + " (" + rate + " tokens/s)";
}

void BatchCounts::count(const boost::json::value& line) {
  ++done;
  prompt_tokens += number_at(line, "response.body.usage.prompt_tokens") +
                   number_at(line, "response.body.usage.input_tokens");
  output_tokens += number_at(line, "response.body.usage.completion_tokens") +
                   number_at(line, "response.body.usage.output_tokens");
  if (const auto code = failure_code(line)) {
    ++failed;
    FailureReason& reason = reasons[*code];
    if (reason.count++ == 0) {
      reason.custom_id = text_at(line, "custom_id");
      reason.message = failure_message(line);
    }
    return;
  }
  truncated += text_at(line, "response.body.status") == "incomplete" ? 1 : 0;
  const auto* choices = find(line, "response.body.choices");
  if (choices == nullptr || !choices->is_array()) return;
  const auto& list = choices->get_array();
  truncated += std::any_of(list.begin(), list.end(), [](const boost::json::value& choice) {
    return text_at(choice, "finish_reason") == "length";
  });
}

double Progress::elapsed_s() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - started_).count();
}

void Progress::start(const BatchCounts& counts) {
  terminal_ = ::isatty(STDERR_FILENO) != 0;
  before_ = counts;
  started_ = std::chrono::steady_clock::now();
  last_shown_ = started_;
  if (before_.done > 0) {
    std::fprintf(stderr, "continuing: %lld of %lld results are there\n",
                 static_cast<long long>(before_.done), static_cast<long long>(counts.total));
  }
}

void Progress::show(const BatchCounts& counts) {
  const auto now = std::chrono::steady_clock::now();
  if (now - last_shown_ < (terminal_ ? std::chrono::milliseconds(kBarEvery) : kLineEvery)) return;
  last_shown_ = now;
  last_note_.clear();
  const double elapsed = std::max(0.001, elapsed_s());
  const auto here = static_cast<double>(counts.done - before_.done);
  const double rate = here / elapsed;
  const std::string eta =
      rate > 0 ? duration_text(static_cast<double>(counts.total - counts.done) / rate) : "--";
  const double tokens_per_s = static_cast<double>(tokens_of(counts) - tokens_of(before_)) / elapsed;
  const double share = static_cast<double>(counts.done) / static_cast<double>(counts.total);
  std::string bar;
  if (terminal_) {
    const int filled = static_cast<int>(share * kBarColumns);
    bar.append("[").append(static_cast<size_t>(filled), '#');
    bar.append(static_cast<size_t>(kBarColumns - filled), '.').append("] ");
  }
  std::fprintf(stderr, "%s%s%lld/%lld  %lld failed  %.0f tokens/s  ETA %s%s", terminal_ ? "\r" : "",
               bar.c_str(), static_cast<long long>(counts.done),
               static_cast<long long>(counts.total), static_cast<long long>(counts.failed),
               tokens_per_s, eta.c_str(), terminal_ ? "\033[K" : "\n");
  bar_shown_ = terminal_;
}

void Progress::note(const std::string& text) {
  if (text == last_note_) return;
  last_note_ = text;
  std::fprintf(stderr, "%s%s\n", bar_shown_ ? "\r\033[K" : "", text.c_str());
  bar_shown_ = false;
}

void Progress::end() {
  if (bar_shown_) std::fputc('\n', stderr);
  bar_shown_ = false;
}

void Progress::summary(const BatchCounts& counts, const std::string& output) {
  std::fprintf(stderr, "%s\n", ending_text(counts, before_, elapsed_s(), output).c_str());
  std::vector<std::pair<std::string, FailureReason>> reasons(counts.reasons.begin(),
                                                             counts.reasons.end());
  std::stable_sort(reasons.begin(), reasons.end(),
                   [](const auto& a, const auto& b) { return a.second.count > b.second.count; });
  for (size_t i = 0; i < reasons.size() && i < kReasonsShown; ++i) {
    const auto& [code, reason] = reasons[i];
    std::fprintf(stderr, "  %lld %s, as \"%s\": %s\n", static_cast<long long>(reason.count),
                 one_line(code).c_str(), one_line(reason.custom_id).c_str(),
                 one_line(reason.message).c_str());
  }
  if (reasons.size() > kReasonsShown) {
    std::fprintf(stderr, "  and %zu reasons more\n", reasons.size() - kReasonsShown);
  }
}

}  // namespace parkd::jobctl
