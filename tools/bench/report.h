// What a benchmark prints: one result = a name and its figures, as a line for people or as one JSON
// object. Figures are medians of several runs; the JSON says on which machine and build.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace parkd::bench {

struct Settings {
  bool json = false;
  bool smoke = false;  // the smallest size that still runs every line: CI's
  int runs = 3;        // each figure is the median of so many
  std::string model;   // GGUF file; empty: benchmarks that need one say so and are left out
  std::string isa = "auto";
  std::string device = "cpu";  // or cuda: the engine's benchmarks
  int threads = 0;             // engine workers; 0 = the cores this process may use
  std::vector<int> sequences;  // jobs at a time of the engine's; empty: 1, 8 and 64, and prefixes
  int prompt_tokens = 128;     // of each of them
  int output_tokens = 128;
  int step_tokens = 0;       // of an engine worker's step; 0: 512, or as many as sequences
  bool tensor_cores = true;  // attention of prompts on them, on CUDA
  std::string work_dir;      // scratch directory on the disk to be measured
  std::string parkd;         // path of the daemon's binary, for e2e and stream
  int streams = 0;           // of stream: how many at a time; 0: a few
  int polls = 0;             // the same of polls
  int stream_tokens = 0;     // of each stream; 0: a few
};

struct BenchResult {
  std::string name;  // "store.submit_one"
  std::vector<std::pair<std::string, double>> figures;
  std::vector<std::pair<std::string, std::string>> labels;

  BenchResult& figure(std::string key, double value);
  BenchResult& label(std::string key, std::string value);
  double at(const std::string& key) const;  // CHECKs that the figure is there
};

// Figure by figure the median of `runs` results of one benchmark.
BenchResult median(std::vector<BenchResult> runs);

// What figures are of: CPU, cores, build, and the commit of the sources as they are now. Empty
// where each JSON line says it.
std::string machine_line(const Settings& settings);
void print(const Settings& settings, const BenchResult& result);

double median_of(std::vector<double> values);
double percentile_of(std::vector<double> values, double share);  // share in [0, 1]
double peak_rss_bytes();

}  // namespace parkd::bench
