#include "lib/backend/cpu/cpu_memory.h"

#include <algorithm>

#include "lib/backend/cpu/cpu_lane.h"
#include "lib/backend/cpu/cpu_weights.h"
#include "lib/base/text.h"
#include "lib/base/thread.h"
#include "lib/model/model.h"
#include "lib/model/model_outlook.h"

namespace parkd {
namespace {

int64_t weights_of(const ModelTensors& tensors, Dtype dtype) {
  int64_t bytes = 0;
  const auto matrix = [&](const TensorView& tensor) {
    if (tensor.rows > 0) bytes += CpuWeights::packed_bytes(tensor, dtype);
  };
  const auto vector = [&](const TensorView& tensor) {
    bytes += tensor.rows * tensor.columns * static_cast<int64_t>(sizeof(float));
  };
  matrix(tensors.embedding);
  for (const LayerTensors& layer : tensors.layers) {
    for (const auto tensor : kLayerMatrices) matrix(layer.*tensor);
    for (const auto tensor : kLayerVectors) vector(layer.*tensor);
  }
  vector(tensors.output_norm);
  if (tensors.head) matrix(*tensors.head);
  return bytes;
}

}  // namespace

CpuMemory cpu_memory_of(const ModelConfig& model, const ModelCard& card, Blocks kv_blocks,
                        int32_t step_tokens) {
  CpuMemory memory;
  memory.weights = weights_of(card.tensors, model.params.dtype);
  memory.kv = kv_blocks.count * kv_block_bytes(kv_shape_of(model.params, card.shape));
  const int32_t sequences = model.params.sequences_on_cpu();
  for (const BufferSize& size :
       buffer_sizes(card.shape, std::max(step_tokens, sequences), sequences)) {
    memory.buffers += CpuLane::buffer_bytes(size.rows, size.columns);
  }
  memory.buffers *= model.pool.worker_threads.value_or(usable_cores());
  return memory;
}

std::string describe(const CpuMemory& memory) {
  return mib_text(memory.total()) + " of main memory (weights " + mib_text(memory.weights) +
         ", KV cache " + mib_text(memory.kv) + ", buffers of steps " + mib_text(memory.buffers) +
         ")";
}

void write_members(JsonWriter& json, const CpuMemory& memory) {
  json.member("bytes", memory.total());
  json.member("weights", memory.weights);
  json.member("kv", memory.kv);
  json.member("buffers", memory.buffers);
}

}  // namespace parkd
