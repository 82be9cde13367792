#include "lib/backend/cuda/cuda_lane.h"

#include <algorithm>
#include <utility>

#include "lib/base/check.h"
#include "lib/base/log.h"
#include "lib/base/units.h"

namespace parkd::cuda {
namespace {

constexpr size_t kEditsOfRow = 256;  // different tokens, on average; what needs more grows

}  // namespace

Result<std::unique_ptr<CudaLane>> CudaLane::make(const CudaWeights& weights,
                                                 const ModelShape& shape, const float* inv_freq,
                                                 const LaneOptions& options) {
  std::unique_ptr<CudaLane> lane(new CudaLane(weights, shape, inv_freq, options));
  PARKD_ASSIGN_OR_RETURN(lane->stream_, Stream::make());
  PARKD_ASSIGN_OR_RETURN(lane->cublas_, Cublas::make(lane->stream_));
  PARKD_RETURN_IF_ERROR(lane->find_resident_blocks());
  return lane;
}

Status CudaLane::find_resident_blocks() {
  constexpr const char* kCall = "cudaOccupancyMaxActiveBlocksPerMultiprocessor";
  const Element kv = weights_.element();
  int32_t n_blocks = 0;
  PARKD_RETURN_IF_ERROR(to_status(
      attention_resident_blocks(kv, shape_.head_dim, shape_.n_heads / shape_.n_kv_heads, &n_blocks),
      kCall));
  n_resident_ = n_blocks * options_.n_multiprocessors;
  AttentionParams without_window = {};
  without_window.kv.element = kv;
  without_window.kv.head_dim = shape_.head_dim;
  without_window.tensor_cores = options_.tensor_core_attention;
  const bool has_tensor_cores = prefill_takes_tensor_cores(without_window);
  for (const bool tensor_cores : {false, true}) {
    if (tensor_cores && !has_tensor_cores) continue;
    PARKD_RETURN_IF_ERROR(
        to_status(prefill_resident_blocks(kv, shape_.head_dim, tensor_cores, &n_blocks), kCall));
    prefill_resident_[tensor_cores ? 1 : 0] = n_blocks * options_.n_multiprocessors;
  }
  return {};
}

CudaLane::~CudaLane() {
  (void)cudaSetDevice(options_.device);
  (void)stream_.synchronize();
}

void CudaLane::note(const Status& status) {
  if (!failure_.ok() || status.ok()) return;
  failure_ = status;
  failed_bucket_ = mode_ == Mode::eager ? 0 : bucket_;
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
  for (const bool tensor_cores : {false, true}) {
    workspace =
        std::max(workspace, prefill_workspace_floats(prefill_resident_[tensor_cores ? 1 : 0],
                                                     shape_.head_dim, tensor_cores));
  }
  PARKD_ASSIGN_OR_RETURN(attention_workspace_, floats(workspace));
  const int64_t sampling = sampling_workspace_bytes(limits.logit_rows_max, shape_.vocab);
  PARKD_ASSIGN_OR_RETURN(
      sampling_workspace_,
      DeviceBuffer::make(static_cast<size_t>(std::max<int64_t>(sampling, 1)), stream_));
  PARKD_ASSIGN_OR_RETURN(sampled_, floats(logit_rows_max_));
  const size_t edits = static_cast<size_t>(logit_rows_max_) *
                       (sizeof(LogitProcessorRow) + kEditsOfRow * sizeof(LogitEdit));
  PARKD_ASSIGN_OR_RETURN(edits_, DeviceBuffer::make(edits, stream_));
  for (HostStep& step : host_steps_) {
    PARKD_ASSIGN_OR_RETURN(step.packed, PinnedBuffer::make(layout.bytes()));
    PARKD_ASSIGN_OR_RETURN(
        step.tokens, PinnedBuffer::make(static_cast<size_t>(logit_rows_max_) * sizeof(int32_t)));
    PARKD_ASSIGN_OR_RETURN(step.logprobs, PinnedBuffer::make(logprobs.bytes()));
    PARKD_ASSIGN_OR_RETURN(step.edits, PinnedBuffer::make(edits));
    PARKD_ASSIGN_OR_RETURN(step.done, Event::make());
  }
  layout_.emplace(limits);
  return {};
}

Status CudaLane::run_largest_step(const std::function<void(const StepBatch&)>& forward,
                                  Buffer logits) {
  const auto n_prompt = static_cast<int32_t>(
      std::min<int64_t>({rows_max_, weights_.kv().block_size, shape_.context_tokens - int64_t{1}}));
  const int64_t n_rows = options_.warms_up ? rows_max_ : n_prompt;
  std::vector<int32_t> rows(static_cast<size_t>(n_rows / n_prompt), n_prompt);
  if (n_rows % n_prompt > 0) rows.push_back(static_cast<int32_t>(n_rows % n_prompt));
  PARKD_RETURN_IF_ERROR(rehearse(forward, logits, rows, 0, true));
  // The shortest prefix whose attention is split.
  const int64_t prefix = 2 * kPrefillSplitTokens;
  if (!options_.warms_up || rows_max_ < 2 || prefix + 2 > shape_.context_tokens) return {};
  rows.assign(1, 2);
  return rehearse(forward, logits, rows, static_cast<int32_t>(prefix), false);
}

Status CudaLane::prepare(const std::function<void(const StepBatch&)>& forward, Buffer logits) {
  std::vector<int32_t> rows;
  const int64_t n_decodes_max = options_.warms_up ? logit_rows_max_ : 1;
  for (int64_t n = 1; n <= n_decodes_max; ++n) {
    if (decode_bucket(n, logit_rows_max_) != n) continue;
    rows.assign(static_cast<size_t>(n), 1);
    PARKD_RETURN_IF_ERROR(rehearse(forward, logits, rows, 0, false));
    if (!options_.graphs || !options_.warms_up) continue;
    Status captured = rehearse(forward, logits, rows, 0, false);
    if (captured.code() == StatusCode::internal) {  // it does without a graph then
      captured = rehearse(forward, logits, rows, 0, false);
    }
    PARKD_RETURN_IF_ERROR(captured);
  }
  return {};
}

// A step of sequences of so many rows, all in block 0, where they may write over each other. What
// lies in it before their rows may be anything: what they choose is not read.
Status CudaLane::rehearse(const std::function<void(const StepBatch&)>& forward, Buffer logits,
                          std::span<const int32_t> rows, int32_t context_tokens,
                          bool asks_for_all) {
  const std::vector<int32_t> table(
      static_cast<size_t>(ceil_div(context_tokens + rows.front(), weights_.kv().block_size)), 0);
  parkd::SamplingParams params;
  params.temperature = 0;
  params.logprobs = asks_for_all;
  params.top_logprobs = asks_for_all ? kTopLogprobsMax : 0;
  const parkd::LogitEdit edit = {0, 1, 0};
  const size_t n_edits = asks_for_all ? 1 : 0;
  std::vector<StepSequence> sequences;
  std::vector<int32_t> logit_rows;
  std::vector<SampleRow> samples;
  int32_t n_rows = 0;
  for (const int32_t n : rows) {
    sequences.push_back({n_rows, n, context_tokens, table});
    n_rows += n;
    if (static_cast<int64_t>(logit_rows.size()) == logit_rows_max_) continue;
    logit_rows.push_back(n_rows - 1);
    samples.push_back({&params, 0, context_tokens + n, {&edit, n_edits}});
  }
  const std::vector<TokenId> tokens(static_cast<size_t>(n_rows), 0);
  forward({tokens, sequences, logit_rows});
  sample(logits, samples);
  std::vector<SampledToken> sampled(samples.size());
  return collect(sampled);
}

// --- a step's beginning

int32_t CudaLane::splits_of(int64_t n_sequences) const {
  return attention_splits(decode_bucket(n_sequences, logit_rows_max_), shape_.n_heads,
                          shape_.n_kv_heads, shape_.context_tokens, n_resident_);
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
    mode_ = mode_of_bucket();
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

CudaLane::Mode CudaLane::mode_of_bucket() const {
  const auto known = graphs_.find(bucket_);
  if (known == graphs_.end() || known->second.refused || recovering_) return Mode::eager;
  if (known->second.graph) return Mode::replaying;
  return captures_ ? Mode::capturing : Mode::eager;
}

float* CudaLane::cos_sin_of(int32_t rope) const {
  return cos_sin_.as<float>() + rope * rows_max_ * shape_.head_dim;
}

// The step's own sizes; one that only decodes takes its bucket's instead.
void CudaLane::set_maxima(const StepBatch& batch) {
  int64_t n_decode = 0;
  prefix_max_ = 0;
  for (const StepSequence& sequence : batch.sequences) {
    if (sequence.n_rows == 1) {
      ++n_decode;
    } else {
      prefix_max_ = std::max(prefix_max_, sequence.context_tokens);
    }
  }
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
                       [](const auto& known) { return known.second.graph.has_value(); });
}

// --- a step's end (cuda_lane_sampling.cc has what it chooses)

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
  recovering_ = false;
  return {};
}

// --- failures

// The caller gives the blocks of failed steps to others, or has them written again, at once: when
// this returns, nothing writes them any more.
Status CudaLane::give_up_steps() {
  const Status rest = come_to_rest();
  mode_ = Mode::eager;
  next_host_step_ = oldest_host_step_ = 0;
  if (!rest.ok()) {
    failure_ = unavailable(failure_.message() + "; then " + rest.message());
  }
  if (failure_.code() == StatusCode::unavailable) return failure_;
  Status failure = std::exchange(failure_, Status());
  if (failed_bucket_ != 0) failure = give_up_graph(std::move(failure));
  recovering_ = failure.code() == StatusCode::internal;
  if (recovering_) log_once(failure);
  return failure;
}

// Ends what was captured, waits for what was launched, and asks what is left of the context: a call
// that failed, of cuBLAS above all, need not know that the device is lost. Errors: it is, or cannot
// be waited for.
Status CudaLane::come_to_rest() {
  Graph::abandon(stream_);  // while a capture is open no thread may wait
  Status rest = stream_.synchronize();
  if (rest.code() == StatusCode::internal) rest = stream_.synchronize();
  if (!rest.ok()) return rest;
  // Cleared, or the next launch would answer it.
  const Status left = to_status(cudaGetLastError(), "cudaGetLastError");
  return left.code() == StatusCode::unavailable ? left : Status();
}

// A bucket can do without its graph, so its failure, even a lack of memory, ends no request.
Status CudaLane::give_up_graph(Status failure) {
  if (failure.code() == StatusCode::exhausted) captures_ = false;
  BucketGraph& bucket = graphs_[failed_bucket_];
  bucket.graph.reset();
  bucket.refused = true;
  return internal_error(failure.message());
}

void CudaLane::log_once(const Status& failure) {
  if (!logged_.emplace(failed_bucket_, failure.message()).second) return;
  log_warn("cuda.step_failed", {{"device", options_.device},
                                {"graph_rows", failed_bucket_},
                                {"error", failure.message()},
                                {"action", failed_bucket_ == 0 ? "it is computed again"
                                                               : "it is computed again, without a "
                                                                 "graph from now on"}});
}

}  // namespace parkd::cuda
