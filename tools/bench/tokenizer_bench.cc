// tokenizer.*: bytes and tokens per second of one thread, against copying the same bytes.
#include "tools/bench/tokenizer_bench.h"

#include <chrono>
#include <cstring>
#include <random>

#include "lib/base/check.h"
#include "lib/model/model_card.h"

namespace parkd::bench {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Words drawn from a fixed list, with lines of code and numbers between: what prompts are made of.
std::string some_text(size_t n_bytes) {
  const std::vector<std::string> words = {
      "the",     "of",       "museum",  "closed", "because",  "repair", "garden", "tickets",
      "Explain", "sentence", "library", "query",  "customer", "größte", "planet", "lighthouse"};
  std::mt19937 random(11);
  std::string text;
  while (text.size() < n_bytes) {
    const auto draw = static_cast<uint32_t>(random());
    if (draw % 41 == 0) {
      text += "\nfor (int i = 0; i < n; ++i) total += values[i];\n";
    } else if (draw % 17 == 0) {
      text += " " + std::to_string(draw % 100000) + ",";
    } else {
      text += " " + words[draw % words.size()];
    }
  }
  return text;
}

double copy_bytes_per_s(const std::string& text) {
  std::string copy(text.size(), '\0');
  const int rounds = 64;
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < rounds; ++i) {
    std::memcpy(copy.data(), text.data(), text.size());
    asm volatile("" ::"r"(copy.data()) : "memory");  // the copy must happen each time
  }
  return rounds * double(text.size()) / seconds_since(start);
}

}  // namespace

void run_tokenizer_benchmarks(const Settings& settings) {
  auto card = load_model_card(settings.model);
  PARKD_CHECK(card.ok(), card.status().to_string());
  const Tokenizer& tokenizer = *(*card)->tokenizer;
  const std::string text = some_text(settings.smoke ? 20'000 : 2'000'000);
  const double peak = copy_bytes_per_s(text);
  std::vector<BenchResult> encodes;
  std::vector<BenchResult> decodes;
  for (int run = 0; run < settings.runs; ++run) {
    auto start = std::chrono::steady_clock::now();
    const auto tokens = tokenizer.encode(text, SpecialTokens::as_text);
    PARKD_CHECK(tokens.ok(), tokens.status().to_string());
    const double encode_s = seconds_since(start);
    start = std::chrono::steady_clock::now();
    const std::string back = tokenizer.decode(*tokens);
    const double decode_s = seconds_since(start);
    PARKD_CHECK(back == text, "decode(encode(text)) is not the text");
    const auto figures = [&](const char* name, double seconds) {
      BenchResult result;
      result.name = name;
      result.figure("bytes_per_s", double(text.size()) / seconds)
          .figure("tokens_per_s", double(tokens->size()) / seconds)
          .figure("peak_fraction", double(text.size()) / seconds / peak)
          .figure("peak_rss_bytes", peak_rss_bytes());
      return result;
    };
    encodes.push_back(figures("tokenizer.encode", encode_s));
    decodes.push_back(figures("tokenizer.decode", decode_s));
  }
  print(settings, median(std::move(encodes)));
  print(settings, median(std::move(decodes)));
}

}  // namespace parkd::bench
