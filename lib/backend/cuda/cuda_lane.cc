#include "lib/backend/cuda/cuda_lane.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "lib/base/check.h"
#include "lib/base/units.h"

namespace parkd::cuda {
namespace {

constexpr int32_t kTopLogprobsMax = 20;

// What logprobs come back as, behind each other.
struct LogprobLayout {
  int64_t rows_max;
  size_t chosen_bytes() const { return static_cast<size_t>(rows_max) * sizeof(float); }
  size_t top_bytes() const { return chosen_bytes() * kTopLogprobsMax; }
  size_t bytes() const { return chosen_bytes() + 2 * top_bytes(); }
  float* chosen(uint8_t* base) const { return reinterpret_cast<float*>(base); }
  int32_t* top_tokens(uint8_t* base) const {
    return reinterpret_cast<int32_t*>(base + chosen_bytes());
  }
  float* top_logprobs(uint8_t* base) const {
    return reinterpret_cast<float*>(base + chosen_bytes() + top_bytes());
  }
};

// The most alternatives that a row asks for; -1 where none wants log-probabilities.
int32_t top_logprobs_of(std::span<const parkd::SamplingParams* const> rows) {
  int32_t top = -1;
  for (const parkd::SamplingParams* params : rows) {
    if (params->logprobs || params->top_logprobs > 0) top = std::max(top, params->top_logprobs);
  }
  return top;
}

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

Result<std::unique_ptr<CudaLane>> CudaLane::make(const CudaWeights& weights,
                                                 const ModelShape& shape, const float* inv_freq,
                                                 const LaneOptions& options) {
  std::unique_ptr<CudaLane> lane(new CudaLane(weights, shape, inv_freq, options));
  PARKD_ASSIGN_OR_RETURN(lane->stream_, Stream::make());
  PARKD_ASSIGN_OR_RETURN(lane->cublas_, Cublas::make(lane->stream_));
  return lane;
}

CudaLane::~CudaLane() {
  (void)cudaSetDevice(options_.device);
  (void)stream_.synchronize();
}

void CudaLane::note(const Status& status) {
  if (failure_.ok() && !status.ok()) failure_ = status;
}

void CudaLane::note(cudaError_t error, const char* what) {
  if (error != cudaSuccess) note(to_status(error, what));
}

// --- memory

Buffer CudaLane::make_buffer(int64_t rows_max, int64_t columns) {
  PARKD_CHECK(!layout_, "buffers are made before the first step");
  Rows rows;
  rows.rows_max = rows_max;
  rows.columns = columns;
  buffers_.push_back(std::move(rows));
  rows_max_ = std::max(rows_max_, rows_max);
  logit_rows_max_ = logit_rows_max_ == 0 ? rows_max : std::min(logit_rows_max_, rows_max);
  return Buffer{static_cast<int32_t>(buffers_.size()) - 1};
}

Status CudaLane::allocate_step_memory() {
  StepLimits limits;
  limits.rows_max = static_cast<int32_t>(rows_max_);
  limits.sequences_max = limits.rows_max;
  limits.logit_rows_max = static_cast<int32_t>(logit_rows_max_);
  limits.blocks_max =
      static_cast<int32_t>(ceil_div(shape_.context_tokens, weights_.kv().block_size));
  const auto floats = [this](int64_t n) {
    return DeviceBuffer::make(static_cast<size_t>(std::max<int64_t>(n, 1)) * sizeof(float),
                              stream_);
  };
  const StepLayout layout(limits);
  PARKD_ASSIGN_OR_RETURN(step_memory_, DeviceBuffer::make(layout.bytes(), stream_));
  const LogprobLayout logprobs{logit_rows_max_};
  PARKD_ASSIGN_OR_RETURN(logprobs_, DeviceBuffer::make(logprobs.bytes(), stream_));
  PARKD_ASSIGN_OR_RETURN(
      cos_sin_, floats(static_cast<int64_t>(shape_.ropes.size()) * rows_max_ * shape_.head_dim));
  int64_t workspace = 0;
  for (int64_t n = 1; n <= rows_max_; ++n) {
    workspace =
        std::max(workspace, attention_workspace_floats(static_cast<int32_t>(n), shape_.n_heads,
                                                       shape_.head_dim, splits_of(n)));
  }
  PARKD_ASSIGN_OR_RETURN(attention_workspace_, floats(workspace));
  const int64_t sampling = sampling_workspace_bytes(limits.logit_rows_max, shape_.vocab);
  PARKD_ASSIGN_OR_RETURN(
      sampling_workspace_,
      DeviceBuffer::make(static_cast<size_t>(std::max<int64_t>(sampling, 1)), stream_));
  PARKD_ASSIGN_OR_RETURN(sampled_, floats(logit_rows_max_));
  for (HostStep& step : host_steps_) {
    PARKD_ASSIGN_OR_RETURN(step.packed, PinnedBuffer::make(layout.bytes()));
    PARKD_ASSIGN_OR_RETURN(
        step.tokens, PinnedBuffer::make(static_cast<size_t>(logit_rows_max_) * sizeof(int32_t)));
    PARKD_ASSIGN_OR_RETURN(step.logprobs, PinnedBuffer::make(logprobs.bytes()));
    PARKD_ASSIGN_OR_RETURN(step.done, Event::make());
  }
  layout_.emplace(limits);
  return {};
}

Status CudaLane::prepare(const std::function<void(const StepBatch&)>& forward, Buffer logits) {
  const int64_t n_prompt = std::min<int64_t>(
      {rows_max_, weights_.kv().block_size - 1, shape_.context_tokens - int64_t{1}});
  PARKD_RETURN_IF_ERROR(rehearse(forward, logits, 0, static_cast<int32_t>(n_prompt)));
  return rehearse(forward, logits, static_cast<int32_t>(n_prompt), 1);
}

// A step of one sequence, which asks for all there is.
Status CudaLane::rehearse(const std::function<void(const StepBatch&)>& forward, Buffer logits,
                          int32_t context_tokens, int32_t n_rows) {
  const std::vector<TokenId> tokens(static_cast<size_t>(n_rows), 0);
  const int32_t block = 0;
  const StepSequence sequence{0, n_rows, context_tokens, {&block, 1}};
  const int32_t logit_row = n_rows - 1;
  parkd::SamplingParams params;
  params.logprobs = true;
  params.top_logprobs = kTopLogprobsMax;
  const SampleRow row{&params, 0, context_tokens + n_rows};
  forward({tokens, {&sequence, 1}, {&logit_row, 1}});
  sample(logits, {&row, 1});
  SampledToken sampled;
  return collect({&sampled, 1});
}

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

// --- a step's beginning

int32_t CudaLane::splits_of(int64_t n_sequences) const {
  return attention_splits(decode_bucket(n_sequences, logit_rows_max_), shape_.n_kv_heads,
                          shape_.context_tokens, options_.n_multiprocessors);
}

void CudaLane::begin_step(const StepBatch& batch) {
  if (!failure_.ok()) return;
  note(start(batch));
}

Status CudaLane::start(const StepBatch& batch) {
  PARKD_RETURN_IF_ERROR(to_status(cudaSetDevice(options_.device), "cudaSetDevice"));
  if (!layout_) PARKD_RETURN_IF_ERROR(allocate_step_memory());
  HostStep& step = host_step();
  PARKD_RETURN_IF_ERROR(copy_to_device(layout_->pack(batch, step.packed.data()), step));
  n_logit_rows_ = static_cast<int64_t>(batch.logit_rows.size());
  mode_ = Mode::eager;
  set_maxima(batch);
  decodes_ = is_decode(batch);
  if (decodes_) {
    n_rows_ = bucket_;
    step_.rows_max = step_.sequences_max = step_.logit_rows_max = step_.decode_max = bucket_;
    const auto known = graphs_.find(bucket_);
    if (known != graphs_.end() && known->second) mode_ = Mode::replaying;
    if (known != graphs_.end() && !known->second && captures_) mode_ = Mode::capturing;
  }
  if (mode_ == Mode::replaying) return {};
  if (mode_ == Mode::capturing) PARKD_RETURN_IF_ERROR(Graph::begin(stream_));
  PARKD_RETURN_IF_ERROR(to_status(
      launch_feed_tokens({step_, sampled_.as<int32_t>()}, stream_.get()), "feeding tokens back"));
  for (int32_t rope = 0; rope < static_cast<int32_t>(shape_.ropes.size()); ++rope) {
    const float* inv_freq = inv_freq_ + int64_t{rope} * (shape_.head_dim / 2);
    const RopeTableParams table = {step_, inv_freq, shape_.head_dim,
                                   shape_.ropes[static_cast<size_t>(rope)].amplitude,
                                   cos_sin_of(rope)};
    PARKD_RETURN_IF_ERROR(to_status(launch_rope_table(table, stream_.get()), "rotation table"));
  }
  return {};
}

float* CudaLane::cos_sin_of(int32_t rope) const {
  return cos_sin_.as<float>() + rope * rows_max_ * shape_.head_dim;
}

// The step's own sizes; one that only decodes takes its bucket's instead.
void CudaLane::set_maxima(const StepBatch& batch) {
  int64_t n_decode = 0;
  for (const StepSequence& sequence : batch.sequences) n_decode += sequence.n_rows == 1 ? 1 : 0;
  const auto n_sequences = static_cast<int64_t>(batch.sequences.size());
  n_rows_ = static_cast<int64_t>(batch.tokens.size());
  has_decode_ = n_decode > 0;
  has_prefill_ = n_decode < n_sequences;
  bucket_ = decode_bucket(std::max<int64_t>(n_decode, 1), logit_rows_max_);
  step_ = layout_->tables(step_memory_.as<uint8_t>());
  step_.rows_max = static_cast<int32_t>(n_rows_);
  step_.sequences_max = static_cast<int32_t>(n_sequences);
  step_.logit_rows_max = static_cast<int32_t>(n_logit_rows_);
  step_.decode_max = static_cast<int32_t>(n_decode);
}

// What stands at `bytes` of the pinned copy, to the same place on the device.
Status CudaLane::copy_to_device(std::span<const uint8_t> bytes, const HostStep& from) {
  const auto offset = static_cast<size_t>(bytes.data() - from.packed.data());
  return to_status(cudaMemcpyAsync(step_memory_.as<uint8_t>() + offset, bytes.data(), bytes.size(),
                                   cudaMemcpyHostToDevice, stream_.get()),
                   "copying a step");
}

int64_t CudaLane::graphs_captured() const {
  return std::count_if(graphs_.begin(), graphs_.end(),
                       [](const auto& known) { return known.second.has_value(); });
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

// --- a step's end

Status CudaLane::run_sampling(Buffer logits) {
  SamplingParams params = {};
  params.n_rows = &step_.counts->n_logit_rows;
  params.rows_max = step_.logit_rows_max;
  params.vocab = shape_.vocab;
  params.logits = rows_of(logits).floats.as<float>();
  params.rows = layout_->sample_rows(step_memory_.as<uint8_t>());
  params.workspace = sampling_workspace_.as<void>();
  params.tokens = sampled_.as<int32_t>();
  return to_status(launch_sampling(params, stream_.get()), "sampling");
}

void CudaLane::sample(Buffer logits, std::span<const SampleRow> rows) {
  HostStep& step = host_step();
  step.params.clear();
  for (const SampleRow& row : rows) step.params.push_back(row.params);
  if (failure_.ok()) note(finish_sampling(step, logits, rows));
  next_host_step_ = (next_host_step_ + 1) % host_steps_.size();
}

Status CudaLane::finish_sampling(HostStep& step, Buffer logits, std::span<const SampleRow> rows) {
  if (mode_ == Mode::capturing) {
    PARKD_ASSIGN_OR_RETURN(graphs_[bucket_], Graph::end(stream_));
  }
  PARKD_RETURN_IF_ERROR(copy_to_device(layout_->pack_samples(rows, step.packed.data()), step));
  if (mode_ == Mode::eager) {
    if (options_.graphs && decodes_) graphs_.try_emplace(bucket_);
  } else {
    PARKD_RETURN_IF_ERROR(graphs_.at(bucket_)->launch(stream_));
  }
  const EditLayout edits(rows);
  if (!edits.empty()) PARKD_RETURN_IF_ERROR(edit_logits(step, logits, edits, rows));
  PARKD_RETURN_IF_ERROR(run_sampling(logits));
  PARKD_RETURN_IF_ERROR(to_status(
      cudaMemcpyAsync(step.tokens.as<void>(), sampled_.as<void>(), rows.size() * sizeof(int32_t),
                      cudaMemcpyDeviceToHost, stream_.get()),
      "copying tokens"));
  step.top = top_logprobs_of(step.params);
  if (step.top >= 0 && !edits.empty()) {
    PARKD_RETURN_IF_ERROR(
        to_status(launch_restore_logits(edit_params(logits, edits), stream_.get()), "raw logits"));
  }
  if (step.top >= 0) PARKD_RETURN_IF_ERROR(copy_logprobs(step, logits));
  return step.done.record(stream_);
}

LogitProcessorParams CudaLane::edit_params(Buffer logits, const EditLayout& layout) {
  LogitProcessorParams params = {};
  params.n_rows = &step_.counts->n_logit_rows;
  params.rows_max = step_.logit_rows_max;
  params.vocab = shape_.vocab;
  params.logits = rows_of(logits).floats.as<float>();
  params.rows = layout.rows(edits_.as<uint8_t>());
  params.edits = layout.edits(edits_.as<uint8_t>());
  params.sampled = sampled_.as<int32_t>();
  return params;
}

// Penalties and biases, as uploaded by this step. The device's memory is reused and freed in the
// stream's order, the pinned copy is this step's own until it is collected.
Status CudaLane::edit_logits(HostStep& step, Buffer logits, const EditLayout& layout,
                             std::span<const SampleRow> rows) {
  const size_t bytes = layout.bytes();
  if (step.edits.bytes() < bytes) {
    PARKD_ASSIGN_OR_RETURN(step.edits, PinnedBuffer::make(2 * bytes));
  }
  if (edits_.bytes() < bytes) {
    PARKD_ASSIGN_OR_RETURN(edits_, DeviceBuffer::make(2 * bytes, stream_));
  }
  layout.pack(rows, step.edits.data());
  PARKD_RETURN_IF_ERROR(to_status(cudaMemcpyAsync(edits_.as<void>(), step.edits.data(), bytes,
                                                  cudaMemcpyHostToDevice, stream_.get()),
                                  "copying penalties and biases"));
  return to_status(launch_logit_processors(edit_params(logits, layout), stream_.get()),
                   "penalties and biases");
}

Status CudaLane::copy_logprobs(HostStep& step, Buffer logits) {
  const LogprobLayout layout{logit_rows_max_};
  auto* device = logprobs_.as<uint8_t>();
  LogprobParams params = {};
  params.n_rows = &step_.counts->n_logit_rows;
  params.rows_max = step_.logit_rows_max;
  params.vocab = shape_.vocab;
  params.logits = rows_of(logits).floats.as<float>();
  params.tokens = sampled_.as<int32_t>();
  params.logprob = layout.chosen(device);
  params.top = step.top;
  params.top_tokens = layout.top_tokens(device);
  params.top_logprobs = layout.top_logprobs(device);
  PARKD_RETURN_IF_ERROR(to_status(launch_logprobs(params, stream_.get()), "log-probabilities"));
  return to_status(cudaMemcpyAsync(step.logprobs.as<void>(), device, layout.bytes(),
                                   cudaMemcpyDeviceToHost, stream_.get()),
                   "copying log-probabilities");
}

void CudaLane::end_step() {
  PARKD_CHECK(mode_ == Mode::eager || !failure_.ok(), "a captured step ends by sampling");
  HostStep& step = host_step();
  step.params.clear();
  step.top = -1;
  if (failure_.ok()) note(step.done.record(stream_));
  next_host_step_ = (next_host_step_ + 1) % host_steps_.size();
}

Status CudaLane::collect(std::span<SampledToken> out) {
  HostStep& step = host_steps_[oldest_host_step_];
  oldest_host_step_ = (oldest_host_step_ + 1) % host_steps_.size();
  if (failure_.ok()) note(step.done.synchronize());
  if (!failure_.ok()) return give_up_steps();
  PARKD_CHECK(out.size() == step.params.size(), "a step is collected with its own rows");
  const auto* tokens = step.tokens.as<int32_t>();
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = {};
    out[i].token = tokens[i];
  }
  if (step.top >= 0) read_logprobs(step, out);
  return {};
}

Status CudaLane::give_up_steps() {
  stop_stream();
  if (failure_.code() != StatusCode::exhausted) return failure_;
  // The device is well, and so is what was allocated.
  if (mode_ == Mode::capturing) captures_ = false;
  mode_ = Mode::eager;
  next_host_step_ = oldest_host_step_ = 0;
  (void)cudaGetLastError();  // or the next launch would answer it
  return std::exchange(failure_, Status());
}

// The caller gives the blocks of a failed lane to others at once: nothing may still write them.
void CudaLane::stop_stream() {
  // While a capture is open no thread may wait. Whether there is one is not known after a failure,
  // so the answers do not matter.
  if (mode_ == Mode::capturing) (void)Graph::end(stream_);
  (void)stream_.synchronize();
}

void CudaLane::read_logprobs(const HostStep& step, std::span<SampledToken> out) const {
  const LogprobLayout layout{logit_rows_max_};
  const float* chosen = layout.chosen(step.logprobs.data());
  const int32_t* top_tokens = layout.top_tokens(step.logprobs.data());
  const float* top_logprobs = layout.top_logprobs(step.logprobs.data());
  for (size_t i = 0; i < out.size(); ++i) {
    const parkd::SamplingParams& params = *step.params[i];
    if (out[i].token < 0) continue;
    if (params.logprobs) out[i].logprob = chosen[i];
    const size_t first = i * static_cast<size_t>(step.top);
    for (int32_t t = 0; t < params.top_logprobs; ++t) {
      const size_t at = first + static_cast<size_t>(t);
      if (top_tokens[at] < 0) break;  // fewer tokens were possible
      out[i].top.push_back({top_tokens[at], top_logprobs[at]});
    }
  }
}

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
