// What data sheets promise of devices, and configuration files say of models: the simulator's
// input. Values; nothing here was measured.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace parkd::simulate {

struct DeviceSheet {
  std::string name;
  double memory_bytes = 0;
  double bytes_per_s = 0;   // of device memory
  double tensor_flops = 0;  // dense bf16 with float sums
  double float_flops = 0;   // float FMAs, two flops each
  int32_t n_multiprocessors = 0;
  double clock_hz = 0;  // boost
};

struct ModelSheet {
  std::string name;
  int32_t n_layers = 0;
  int32_t hidden = 0;
  int32_t ffn = 0;
  int32_t n_heads = 0;
  int32_t n_kv_heads = 0;
  int32_t head_dim = 0;
  int32_t vocab = 0;
  bool own_head = false;  // the output head is a matrix beside the embedding
};

const std::vector<DeviceSheet>& device_sheets();
const std::vector<ModelSheet>& model_sheets();
// nullptr when there is none of that name.
const DeviceSheet* find_device(std::string_view name);
const ModelSheet* find_model(std::string_view name);

}  // namespace parkd::simulate
