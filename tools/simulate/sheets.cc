#include "tools/simulate/sheets.h"

#include <algorithm>

namespace parkd::simulate {
namespace {

template <class Sheet>
const Sheet* find(const std::vector<Sheet>& sheets, std::string_view name) {
  const auto it = std::find_if(sheets.begin(), sheets.end(),
                               [name](const Sheet& sheet) { return sheet.name == name; });
  return it == sheets.end() ? nullptr : &*it;
}

}  // namespace

// NVIDIA's data sheets: A100 80GB SXM, H100 SXM and H200 SXM (half of the flops "with sparsity"),
// Ada white paper, appendix A (RTX 4090). tools/kernels/kernel_roofline.py has two of them. Clocks
// are boosts, of Hopper the lower one of its PCIe card: what it keeps up under load is not said.
const std::vector<DeviceSheet>& device_sheets() {
  static const std::vector<DeviceSheet> sheets = {
      {"A100", 80e9, 2.039e12, 312e12, 19.5e12, 108, 1.410e9},
      {"H100", 80e9, 3.35e12, 989e12, 67e12, 132, 1.755e9},
      {"H200", 141e9, 4.8e12, 989e12, 67e12, 132, 1.755e9},
      {"RTX 4090", 24e9, 1.008e12, 165.2e12, 82.6e12, 128, 2.520e9},
  };
  return sheets;
}

// The models' own config.json.
const std::vector<ModelSheet>& model_sheets() {
  static const std::vector<ModelSheet> sheets = {
      {"Mistral-7B", 32, 4096, 14336, 32, 8, 128, 32000, true},
      {"Qwen3-0.6B", 28, 1024, 3072, 16, 8, 128, 151936, false},
      {"SmolLM2-135M", 30, 576, 1536, 9, 3, 64, 49152, false},
  };
  return sheets;
}

const DeviceSheet* find_device(std::string_view name) {
  return find(device_sheets(), name);
}

const ModelSheet* find_model(std::string_view name) {
  return find(model_sheets(), name);
}

}  // namespace parkd::simulate
