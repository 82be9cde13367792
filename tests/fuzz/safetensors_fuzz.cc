// Any bytes are a safetensors file or a refusal that names it, and any bytes are an index of shards
// or a refusal; what is accepted can be read to the end.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include "lib/weights/model_folder.h"
#include "tests/support/safetensors_writer.h"

namespace {

using Files = std::map<std::string, std::vector<uint8_t>>;

void read(const Files& files) {
  const auto folder = parkd::ModelFolder::from_files("fuzz", files);
  if (!folder.ok()) {
    if (folder.status().message().rfind("fuzz/", 0) != 0) std::abort();
    return;
  }
  [[maybe_unused]] volatile uint64_t sum = 0;
  for (const parkd::TensorView& tensor : (*folder)->tensors()) {
    if ((*folder)->find_tensor(tensor.name) != &tensor) std::abort();
    sum = sum + tensor.bytes.front() + tensor.bytes.back();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Files files;
  files["config.json"] = {'{', '}'};
  files["model.safetensors"] = {data, data + size};
  read(files);
  files.erase("model.safetensors");
  files["model.safetensors.index.json"] = {data, data + size};
  for (const char* name : {"a", "b"}) {
    parkd::testing::SafetensorsWriter writer;
    writer.add(name, "F32", std::vector<int64_t>{2}, std::vector<uint8_t>(8));
    files[std::string(name) + ".safetensors"] = writer.bytes();
  }
  read(files);
  return 0;
}
