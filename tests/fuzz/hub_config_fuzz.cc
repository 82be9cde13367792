// Any bytes are a config.json, a generation_config.json and a tokenizer_config.json, or a refusal
// that names the file; the numbers that are accepted make a shape.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include "lib/model/family.h"
#include "lib/model/hub_numbers.h"
#include "lib/model/hub_template.h"

namespace {

void check_refusal(const parkd::Status& status) {
  if (!status.ok() && status.message().rfind("fuzz/", 0) != 0) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::map<std::string, std::vector<uint8_t>> files;
  files["model.safetensors"] = {2, 0, 0, 0, 0, 0, 0, 0, '{', '}'};
  files["config.json"] = {data, data + size};
  files["generation_config.json"] = {data, data + size};
  files["tokenizer_config.json"] = {data, data + size};
  const auto folder = parkd::ModelFolder::from_files("fuzz", files).value();
  check_refusal(parkd::read_template_sources(*folder).status());
  const auto type = parkd::read_model_type(*folder);
  check_refusal(type.status());
  const auto config = parkd::read_hub_config(*folder);
  check_refusal(config.status());
  if (!config.ok()) return 0;
  const parkd::Family& family = parkd::all_families().front();
  parkd::ModelShape shape;
  parkd::plan_layers(family, config->numbers, shape);
  if (!check_layers(shape).ok()) std::abort();
  for (const parkd::Rope& rope : shape.ropes) {
    for (const float frequency : rope.inv_freq) {
      if (!std::isfinite(frequency)) std::abort();
    }
  }
  return 0;
}
