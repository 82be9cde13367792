#include "lib/backend/cpu/cpu_memory.h"

#include <algorithm>

#include "lib/backend/cpu/cpu_lane.h"
#include "lib/backend/cpu/cpu_weights.h"
#include "lib/base/main_memory.h"
#include "lib/base/thread.h"
#include "lib/model/model.h"
#include "lib/model/model_outlook.h"

namespace parkd {
namespace {

std::string mib(int64_t bytes) {
  return std::to_string((bytes + (1 << 20) - 1) >> 20) + " MiB";
}

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
    for (const TensorView* tensor : {&layer.q, &layer.k, &layer.v, &layer.attention_out,
                                     &layer.gate, &layer.up, &layer.down}) {
      matrix(*tensor);
    }
    for (const TensorView* tensor :
         {&layer.attention_norm, &layer.q_norm, &layer.k_norm, &layer.q_bias, &layer.k_bias,
          &layer.v_bias, &layer.post_attention_norm, &layer.ffn_norm, &layer.post_ffn_norm}) {
      vector(*tensor);
    }
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
  const int64_t rows = std::max(step_tokens, model.params.max_num_seqs);
  for (const BufferSize& size : buffer_sizes(card.shape, rows, model.params.max_num_seqs)) {
    memory.buffers += CpuLane::buffer_bytes(size.rows, size.columns);
  }
  memory.buffers *= model.pool.worker_threads.value_or(usable_cores());
  return memory;
}

int64_t memory_budget_bytes(const DaemonConfig& daemon) {
  if (daemon.memory_mb) return *daemon.memory_mb << 20;
  return available_memory_bytes() / 5 * 4;
}

std::string describe(const CpuMemory& memory) {
  return mib(memory.total()) + " of main memory (weights " + mib(memory.weights) + ", KV cache " +
         mib(memory.kv) + ", buffers of steps " + mib(memory.buffers) + ")";
}

Status check_fits_alone(const std::string& model, const CpuMemory& memory, int64_t budget_bytes) {
  if (memory.total() <= budget_bytes) return {};
  return exhausted("model " + model + " takes " + describe(memory) + ", models may take " +
                   mib(budget_bytes) +
                   " (daemon.memory_mb; left out: four fifths of what is available at the start): "
                   "lower kvcache_mem_cpu or max_num_seqs, or raise daemon.memory_mb");
}

std::string describe_turns(const std::vector<ModelMemory>& models, int64_t budget_bytes) {
  int64_t total = 0;
  std::string list;
  for (const ModelMemory& model : models) {
    total += model.bytes;
    list += (list.empty() ? "" : ", ") + model.model + " " + mib(model.bytes);
  }
  if (total <= budget_bytes) return "";
  return "the models take " + mib(total) + " of main memory together (" + list +
         "), they may take " + mib(budget_bytes) +
         " (daemon.memory_mb): not all are loaded at a time, they take turns";
}

}  // namespace parkd
