// parkd_bench: how fast the parts are, on this machine, against a peak measured in the same run.
#include <CLI/CLI.hpp>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <iostream>
#include <map>

#include "lib/base/text.h"
#include "tools/bench/e2e_bench.h"
#include "tools/bench/engine_bench.h"
#include "tools/bench/report.h"
#include "tools/bench/store_bench.h"
#include "tools/bench/stream_bench.h"
#include "tools/bench/tokenizer_bench.h"

namespace {

using parkd::bench::Settings;

struct Benchmark {
  void (*run)(const Settings&);
  bool needs_model;
};

const std::map<std::string, Benchmark> kBenchmarks = {
    {"store", {parkd::bench::run_store_benchmarks, false}},
    {"tokenizer", {parkd::bench::run_tokenizer_benchmarks, true}},
    {"engine", {parkd::bench::run_engine_benchmarks, true}},
    {"e2e", {parkd::bench::run_e2e_benchmarks, true}},
    {"stream", {parkd::bench::run_stream_benchmarks, true}},
};

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "Measures parkd's parts: store, tokenizer, engine, e2e, stream (all when none is named).");
  Settings settings;
  std::vector<std::string> names;
  std::string scratch = std::filesystem::temp_directory_path().string();
  app.add_option("benchmarks", names, "store, tokenizer, engine, e2e, stream")
      ->check(CLI::IsMember(kBenchmarks));
  app.add_flag("--json", settings.json, "One JSON object a result");
  app.add_flag("--smoke", settings.smoke, "Smallest sizes: shows that it runs, not how fast");
  app.add_option("--runs", settings.runs, "Runs of each; the median is printed")
      ->check(CLI::Range(1, 100));
  app.add_option("--model", settings.model, "GGUF file")->check(CLI::ExistingFile);
  app.add_option("--isa", settings.isa, "auto, scalar, avx2 or avx512");
  app.add_option("--device", settings.device, "cpu or cuda, for engine")
      ->check(CLI::IsMember({"cpu", "cuda"}));
  app.add_option("--threads", settings.threads, "Engine workers (0 = usable cores)")
      ->check(CLI::Range(0, 1024));
  app.add_option("--sequences", settings.sequences,
                 "Jobs at a time, for engine: these alone, without its other benchmarks")
      ->check(CLI::Range(1, 4096));
  app.add_option("--prompt-tokens", settings.prompt_tokens, "Of each of them (default: 128)")
      ->check(CLI::Range(1, 1 << 20));
  app.add_option("--output-tokens", settings.output_tokens, "Of each of them (default: 128)")
      ->check(CLI::Range(2, 1 << 20));
  app.add_option("--step-tokens", settings.step_tokens, "Of an engine worker's step")
      ->check(CLI::Range(0, 65536));
  bool plain_attention = false;
  app.add_flag("--plain-attention", plain_attention,
               "Attention of prompts without tensor cores, for --device cuda");
  app.add_option("--dir", scratch, "Where to make the scratch directory: the disk to measure");
  settings.parkd = (std::filesystem::path(argv[0]).parent_path() / "../../daemon/parkd").string();
  app.add_option("--parkd", settings.parkd, "The daemon's binary, for e2e and stream");
  app.add_option("--streams", settings.streams, "Streams at a time, for stream")
      ->check(CLI::Range(1, 4096));
  app.add_option("--stream-tokens", settings.stream_tokens, "Tokens of each stream, for stream")
      ->check(CLI::Range(1, 100'000));
  app.add_option("--polls", settings.polls, "Waiting polls at a time, for stream")
      ->check(CLI::Range(1, 60'000));
  CLI11_PARSE(app, argc, argv);
  settings.tensor_cores = !plain_attention;
  if (settings.smoke) settings.runs = 1;
  settings.work_dir = scratch + "/parkd-bench-" + parkd::random_hex(6);

  if (names.empty()) {
    for (const auto& [name, benchmark] : kBenchmarks) names.push_back(name);
  }
  std::filesystem::create_directories(settings.work_dir);
  std::cout << parkd::bench::machine_line(settings) << std::flush;
  int failed = 0;
  for (const std::string& name : names) {
    const Benchmark& benchmark = kBenchmarks.at(name);
    if (benchmark.needs_model && settings.model.empty()) {
      std::cerr << name << ": needs --model FILE.gguf\n";
      failed = 2;
      continue;
    }
    benchmark.run(settings);
  }
  std::filesystem::remove_all(settings.work_dir);
  return failed;
}
