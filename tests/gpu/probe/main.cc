// gpu_probe WHAT...: times on a CUDA device what decides parkd's speed on it, beside what its data
// sheet allows, before a model is there. Exit status 77: no device.
//   gpu_probe facts copies launches products attention sampling
//   gpu_probe expect --device NAME --like MODEL ...: what tools/simulate's model of a device gives
//   for the engine's benchmark; needs no device.
#include <cuda_runtime.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <exception>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "tests/gpu/probe/probes.h"
#include "tests/support/random_model.h"
#include "tools/simulate/step_cost.h"

namespace {

using namespace parkd;

constexpr int kNoDevice = 77;

void print_facts(const cudaDeviceProp& device) {
  int driver = 0;
  int runtime = 0;
  (void)cudaDriverGetVersion(&driver);
  (void)cudaRuntimeGetVersion(&runtime);
  const auto fact = [](const char* name, const std::string& value) {
    std::printf("fact\t%s\t%s\n", name, value.c_str());
  };
  fact("device", device.name);
  fact("compute capability", std::to_string(device.major) + "." + std::to_string(device.minor));
  fact("multiprocessors", std::to_string(device.multiProcessorCount));
  fact("memory, MiB", std::to_string(device.totalGlobalMem >> 20));
  fact("CUDA of the driver", std::to_string(driver));
  fact("CUDA of this program", std::to_string(runtime));
  const auto* sheet = probe::sheet_of(device.name);
  fact("data sheet", sheet != nullptr ? sheet->name : "none: nothing is expected of this device");
}

struct Load {
  std::string device;
  std::string like = "mistral-7b";
  int32_t layers = 0;
  int32_t sequences = 1;
  int32_t lanes = 1;
  int32_t prompt_tokens = 128;
  int32_t output_tokens = 128;
};

// Output tokens a second of `sequences` that decode side by side, half of their output written:
// each lane's steps after each other on the device.
int expect(const Load& load) {
  const simulate::DeviceSheet* device = probe::sheet_of(load.device);
  const testing::RandomModel* model = testing::find_random_model(load.like);
  if (device == nullptr || model == nullptr) {
    std::printf("-\n");
    return 0;
  }
  const testing::TinyModelOptions& options = model->options;
  const simulate::ModelSheet sheet = {
      model->name,      load.layers > 0 ? load.layers : options.n_layers,
      options.hidden,   options.ffn,
      options.n_heads,  options.n_kv_heads,
      options.head_dim, model->vocab,
      !options.tied};
  const int32_t lanes = std::min(load.lanes, load.sequences);
  simulate::StepWork work;
  work.decode_rows = (load.sequences + lanes - 1) / lanes;
  work.decode_context_tokens = work.decode_rows * (load.prompt_tokens + load.output_tokens / 2);
  work.logit_rows = work.decode_rows;
  const simulate::StepCost cost = simulate::cost_of(work, sheet, *device, {});
  std::printf("%.0f\n", load.sequences / (lanes * cost.alone_s()));
  return 0;
}

int measure(const std::vector<std::string>& what, bool tiny) {
  static const std::map<std::string, std::function<void(const probe::Figures&, bool)>> probes = {
      {"copies", probe::probe_copies},     {"launches", probe::probe_launches},
      {"products", probe::probe_products}, {"attention", probe::probe_attention},
      {"sampling", probe::probe_sampling},
  };
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  cudaDeviceProp device = {};
  if (error != cudaSuccess || count == 0 || cudaGetDeviceProperties(&device, 0) != cudaSuccess) {
    std::printf("SKIPPED: no CUDA device (%s)\n", cudaGetErrorString(error));
    return kNoDevice;
  }
  const probe::Figures figures(probe::sheet_of(device.name));
  for (const std::string& name : what) {
    if (name == "facts") {
      print_facts(device);
      continue;
    }
    try {
      probes.at(name)(figures, tiny);
    } catch (const std::exception& failed) {
      std::fprintf(stderr, "%s: %s\n", name.c_str(), failed.what());
      return 1;
    }
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Times what decides parkd's speed on a CUDA device.");
  std::vector<std::string> what;
  bool tiny = false;
  Load load;
  app.add_option("what", what, "facts, copies, launches, products, attention, sampling")
      ->check(CLI::IsMember({"facts", "copies", "launches", "products", "attention", "sampling"}));
  app.add_flag("--tiny", tiny, "Smallest sizes: shows that it runs, not how fast");
  CLI::App* expected = app.add_subcommand("expect", "What a model of devices gives, not measured");
  expected->add_option("--device", load.device, "As CUDA names it")->required();
  expected->add_option("--like", load.like, "The model (parkd_make_random_model)");
  expected->add_option("--layers", load.layers, "Of it");
  expected->add_option("--sequences", load.sequences, "At once")->check(CLI::PositiveNumber);
  expected->add_option("--lanes", load.lanes, "Of the device")->check(CLI::PositiveNumber);
  expected->add_option("--prompt-tokens", load.prompt_tokens, "Of each");
  expected->add_option("--output-tokens", load.output_tokens, "Of each");
  CLI11_PARSE(app, argc, argv);
  if (*expected) return expect(load);
  return measure(what, tiny);
}
