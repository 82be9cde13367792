// CudaLane's ops, and the rows that they read and write.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "lib/backend/cuda/cuda_lane.h"
#include "lib/base/check.h"

namespace parkd::cuda {

// --- rows

float* CudaLane::write_floats(Rows& rows, int64_t n, const int32_t* n_rows) {
  PARKD_DCHECK(n <= rows.rows_max, "more rows than the buffer was made for");
  if (rows.floats.bytes() == 0) {
    PARKD_CHECK(mode_ == Mode::eager, "a captured step has run eagerly before");
    auto memory = DeviceBuffer::make(
        static_cast<size_t>(rows.rows_max * rows.columns) * sizeof(float), stream_);
    note(memory.status());
    if (memory.ok()) rows.floats = std::move(*memory);
  }
  rows.rows = n;
  rows.n_rows = n_rows;
  rows.is_float = true;
  return rows.floats.as<float>();
}

void* CudaLane::write_elements(Rows& rows, int64_t n, const int32_t* n_rows) {
  PARKD_DCHECK(n <= rows.rows_max, "more rows than the buffer was made for");
  if (rows.elements.bytes() == 0) {
    PARKD_CHECK(mode_ == Mode::eager, "a captured step has run eagerly before");
    const int64_t bytes = rows.rows_max * rows.columns * element_bytes(weights_.element());
    auto memory = DeviceBuffer::make(static_cast<size_t>(bytes), stream_);
    note(memory.status());
    if (memory.ok()) rows.elements = std::move(*memory);
  }
  rows.rows = n;
  rows.n_rows = n_rows;
  rows.is_float = false;
  return rows.elements.as<void>();
}

const void* CudaLane::elements_of(Rows& rows) {
  if (!rows.is_float) return rows.elements.as<void>();
  if (weights_.element() == Element::f32) return rows.floats.as<void>();
  DequantiseParams params = {};
  params.from = rows.floats.as<uint8_t>();
  params.type = static_cast<int32_t>(TensorType::f32);
  params.rows = rows.rows;
  params.columns = rows.columns;
  params.to = write_elements(rows, rows.rows, rows.n_rows);
  params.element = weights_.element();
  if (failure_.ok()) note(launch_dequantise(params, stream_.get()), "rounding rows");
  rows.is_float = true;  // both forms hold
  return rows.elements.as<void>();
}

// --- the ops

void CudaLane::embed(MatrixId table, float scale, Buffer out) {
  if (skips()) return;
  const CudaMatrix& matrix = weights_.matrix(table);
  EmbedParams params = {};
  params.step = step_;
  params.table = matrix.memory.as<void>();
  params.element = weights_.element();
  params.hidden = static_cast<int32_t>(matrix.k);
  params.scale = scale;
  params.out = write_floats(rows_of(out), n_rows_, &step_.counts->n_rows);
  if (failure_.ok()) note(launch_embed(params, stream_.get()), "embedding");
}

RmsNormParams CudaLane::norm_params(const Rows& from, VectorId weight) const {
  PARKD_DCHECK(from.is_float, "norms read float rows");
  RmsNormParams params = {};
  params.n_rows = from.n_rows;
  params.rows_max = static_cast<int32_t>(from.rows);
  params.columns = static_cast<int32_t>(from.columns);
  params.eps = shape_.rms_eps;
  params.in = from.floats.as<float>();
  params.weight = weights_.vector(weight);
  return params;
}

void CudaLane::rms_norm(Buffer in, VectorId weight, Buffer out) {
  if (skips()) return;
  const Rows& from = rows_of(in);
  RmsNormParams params = norm_params(from, weight);
  params.out = write_elements(rows_of(out), from.rows, from.n_rows);
  params.element = weights_.element();
  if (failure_.ok()) note(launch_rms_norm(params, stream_.get()), "RMS norm");
}

void CudaLane::rms_norm_add(Buffer in, VectorId weight, Buffer sum) {
  if (skips()) return;
  const Rows& from = rows_of(in);
  PARKD_DCHECK(rows_of(sum).is_float, "norms are added to float rows");
  RmsNormParams params = norm_params(from, weight);
  params.out = write_floats(rows_of(sum), from.rows, from.n_rows);
  params.element = Element::f32;
  params.adds = true;
  if (failure_.ok()) note(launch_rms_norm(params, stream_.get()), "adding an RMS norm");
}

void CudaLane::multiply(MatrixId weight, Buffer in, Buffer out, bool add) {
  if (skips()) return;
  const CudaMatrix& matrix = weights_.matrix(weight);
  Rows& from = rows_of(in);
  Rows& to = rows_of(out);
  PARKD_DCHECK(from.columns == matrix.k && to.columns == matrix.n_outputs,
               "a product of unequal lengths");
  const void* elements = elements_of(from);
  float* floats = write_floats(to, from.rows, from.n_rows);
  if (!failure_.ok()) return;
  note(cublas_.multiply(matrix.memory.as<void>(), elements, weights_.element(), from.rows,
                        matrix.n_outputs, matrix.k, add, floats));
}

void CudaLane::matmul(MatrixId weight, Buffer in, Buffer out) {
  multiply(weight, in, out, false);
}

void CudaLane::matmul_add(MatrixId weight, Buffer in, Buffer sum) {
  multiply(weight, in, sum, true);
}

void CudaLane::rope_and_store(int32_t layer, const RopeOptions& options, Buffer qkv) {
  if (skips()) return;
  RopeStoreParams params = {};
  params.step = step_;
  params.kv = weights_.kv();
  params.layer = layer;
  params.n_heads = shape_.n_heads;
  if (options.rope != kNoRope) {
    const Rope& rope = shape_.ropes[static_cast<size_t>(options.rope)];
    params.interleaved = rope.layout == RopeLayout::interleaved;
    params.cos_sin = cos_sin_of(options.rope);
  }
  params.qkv = rows_of(qkv).floats.as<float>();
  if (options.q_norm.index >= 0) {
    params.q_norm = weights_.vector(options.q_norm);
    params.k_norm = weights_.vector(options.k_norm);
    params.eps = shape_.rms_eps;
  }
  if (options.q_bias.index >= 0) {
    params.q_bias = weights_.vector(options.q_bias);
    params.k_bias = weights_.vector(options.k_bias);
    params.v_bias = weights_.vector(options.v_bias);
  }
  params.query_beta = options.query_scale.beta;
  params.query_period = options.query_scale.period;
  note(launch_rope_and_store(params, stream_.get()), "rotation and KV store");
}

AttentionParams CudaLane::attention_params(int32_t layer, const AttentionOptions& options,
                                           const Rows& qkv, const Rows& out) const {
  AttentionParams params = {};
  params.step = step_;
  params.kv = weights_.kv();
  params.layer = layer;
  params.n_heads = shape_.n_heads;
  params.scale = options.scale;
  params.window = options.window;
  params.qkv = qkv.floats.as<float>();
  params.out = out.elements.as<void>();
  params.element = weights_.element();
  params.n_splits = splits_of(std::max(step_.decode_max, 1));
  params.workspace = attention_workspace_.as<float>();
  params.tensor_cores = options_.tensor_core_attention;
  const int32_t resident = prefill_resident_[prefill_takes_tensor_cores(params) ? 1 : 0];
  params.prefill_splits = prefill_splits(params, prefix_max_, resident);
  return params;
}

void CudaLane::attention(int32_t layer, const AttentionOptions& options, Buffer qkv, Buffer out) {
  if (skips()) return;
  const Rows& from = rows_of(qkv);
  Rows& to = rows_of(out);
  (void)write_elements(to, from.rows, from.n_rows);
  if (!failure_.ok()) return;
  const AttentionParams params = attention_params(layer, options, from, to);
  if (has_decode_) note(launch_attention_decode(params, stream_.get()), "decode attention");
  if (has_prefill_) note(launch_attention_prefill(params, stream_.get()), "prefill attention");
}

void CudaLane::gate_mul(Activation activation, Buffer gate_up, Buffer out) {
  if (skips()) return;
  const Rows& from = rows_of(gate_up);
  Rows& to = rows_of(out);
  GateMulParams params = {};
  params.activation = activation == Activation::gelu_tanh ? Gate::gelu_tanh : Gate::silu;
  params.n_rows = from.n_rows;
  params.rows_max = static_cast<int32_t>(from.rows);
  params.ffn = static_cast<int32_t>(to.columns);
  params.gate_up = from.floats.as<float>();
  params.out = write_elements(to, from.rows, from.n_rows);
  params.element = weights_.element();
  if (failure_.ok()) note(launch_gate_mul(params, stream_.get()), "gate");
}

void CudaLane::gather_logit_rows(Buffer in, Buffer out) {
  if (skips()) return;
  const Rows& from = rows_of(in);
  GatherRowsParams params = {};
  params.step = step_;
  params.in = from.floats.as<float>();
  params.columns = static_cast<int32_t>(from.columns);
  params.out = write_floats(rows_of(out), step_.logit_rows_max, &step_.counts->n_logit_rows);
  if (failure_.ok()) note(launch_gather_rows(params, stream_.get()), "gathering rows");
}

// --- rows for the host

namespace {

float to_float(__half x) {
  return __half2float(x);
}
float to_float(__nv_bfloat16 x) {
  return __bfloat162float(x);
}

template <class T>
void widen_row(std::span<const uint8_t> from, std::span<float> to) {
  for (size_t i = 0; i < to.size(); ++i) {
    T value;
    std::memcpy(&value, from.data() + i * sizeof(T), sizeof(T));
    to[i] = to_float(value);
  }
}

}  // namespace

void CudaLane::read_row(Buffer buffer, int64_t row, std::span<float> out) {
  Rows& from = rows_of(buffer);
  PARKD_CHECK(mode_ == Mode::eager, "rows are read of steps that are not captured");
  if (!failure_.ok()) return std::fill(out.begin(), out.end(), 0.0F);
  PARKD_CHECK(row < from.rows && static_cast<int64_t>(out.size()) == from.columns,
              "a row that the buffer has");
  const bool is_float = from.is_float || weights_.element() == Element::f32;
  const int64_t bytes = from.columns * (is_float ? 4 : element_bytes(weights_.element()));
  std::vector<uint8_t> copied(static_cast<size_t>(bytes));
  const auto* base = (from.is_float ? from.floats : from.elements).as<uint8_t>();
  note(cudaMemcpyAsync(copied.data(), base + row * bytes, copied.size(), cudaMemcpyDeviceToHost,
                       stream_.get()),
       "reading a row");
  note(stream_.synchronize());
  // NOLINTNEXTLINE(bugprone-branch-clone): two instances of one template, not one call twice
  if (is_float) {
    std::memcpy(out.data(), copied.data(), copied.size());
  } else if (weights_.element() == Element::f16) {
    widen_row<__half>(copied, out);
  } else {
    widen_row<__nv_bfloat16>(copied, out);
  }
}

}  // namespace parkd::cuda
