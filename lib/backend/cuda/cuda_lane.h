// CudaLane: a Lane that hands each op to one CUDA stream and returns at once.
//
// A step's batch and sampling rows are copied to the device in two pieces; the host may be one step
// ahead: it packs the next step into the other pinned buffer while the device computes this one,
// and tokens not seen yet are fed back on the device. Steps that only decode compute as many rows
// as their bucket of batch sizes has: eagerly when a bucket comes the first time, captured into a
// CUDA graph the second time (both of every bucket while the lane is prepared), and then replayed
// as one launch, whose ops do nothing. So a capture holds no product that did not run before.
// Sampling is launched behind the graph, after penalties and biases where a row has some: their
// memory grows with what requests ask for, which a graph could not follow.
//
// Failures of an op are kept and answered by collect(), once the stream is empty: cuda_errors.h
// says whether the device is lost, memory was short, or the steps can be computed again. What
// follows the latter runs without graphs until a step is collected, and a bucket whose graph could
// not be captured or launched has none from then on. run_largest_step() allocates everything but
// graphs (those for which memory is short are left out) and what more edits ask for than it
// foresees.
//
// In three files: cuda_lane.cc (memory, a step's beginning and end), cuda_lane_ops.cc,
// cuda_lane_sampling.cc.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "kernels/cuda/kernels.h"
#include "lib/backend/cuda/cublas.h"
#include "lib/backend/cuda/cuda_handles.h"
#include "lib/backend/cuda/cuda_weights.h"
#include "lib/backend/cuda/step_tables.h"
#include "lib/model/backend.h"

namespace parkd::cuda {

struct LaneOptions {
  int32_t device = 0;
  int32_t n_multiprocessors = 1;
  bool graphs = true;
  bool tensor_core_attention = false;  // the mma.sync path
  bool warms_up = true;                // before the first job all that there is runs
};

class CudaLane final : public Lane {
 public:
  // `weights` and `shape` are shared with the other lanes and outlive this one. Errors: exhausted,
  // internal, unavailable.
  static Result<std::unique_ptr<CudaLane>> make(const CudaWeights& weights, const ModelShape& shape,
                                                const float* inv_freq, const LaneOptions& options);
  ~CudaLane() override;

  Buffer make_buffer(int64_t rows_max, int64_t columns) override;
  // The largest step of prompts, and a few rows behind a prefix: CUDA and its libraries have then
  // loaded and allocated what they need for any step.
  Status run_largest_step(const std::function<void(const StepBatch&)>& forward,
                          Buffer logits) override;
  // Runs of every bucket of decodes one step as it is and one that is captured.
  Status prepare(const std::function<void(const StepBatch&)>& forward, Buffer logits) override;
  int32_t steps_ahead() const override { return 1; }
  void begin_step(const StepBatch& batch) override;
  void embed(MatrixId table, float scale, Buffer out) override;
  void rms_norm(Buffer in, VectorId weight, Buffer out) override;
  void rms_norm_add(Buffer in, VectorId weight, Buffer sum) override;
  void matmul(MatrixId weight, Buffer in, Buffer out) override;
  void matmul_add(MatrixId weight, Buffer in, Buffer sum) override;
  void rope_and_store(int32_t layer, const RopeOptions& options, Buffer qkv) override;
  void attention(int32_t layer, const AttentionOptions& options, Buffer qkv, Buffer out) override;
  void gate_mul(Activation activation, Buffer gate_up, Buffer out) override;
  void gather_logit_rows(Buffer in, Buffer out) override;
  void sample(Buffer logits, std::span<const SampleRow> rows) override;
  void end_step() override;
  Status collect(std::span<SampledToken> out) override;
  void read_row(Buffer buffer, int64_t row, std::span<float> out) override;

  int64_t graphs_captured() const;

 private:
  // Rows as floats (what is added to, rotated, sampled) and as the products' inputs; each form is
  // allocated when an op first writes it.
  struct Rows {
    int64_t rows_max = 0;
    int64_t columns = 0;
    int64_t rows = 0;                 // that ops launch for
    const int32_t* n_rows = nullptr;  // device: how many there are
    bool is_float = false;            // which form the last op wrote
    DeviceBuffer floats;
    DeviceBuffer elements;
  };

  // What the host keeps of a step that is ended and not collected.
  struct HostStep {
    PinnedBuffer packed;  // StepLayout
    PinnedBuffer tokens;  // (logit_rows_max)
    PinnedBuffer logprobs;
    PinnedBuffer edits;  // EditLayout; it grows
    Event done;
    std::vector<const parkd::SamplingParams*> params;
    int32_t top = 0;
  };

  // What becomes of the ops that are called now.
  enum class Mode { eager, capturing, replaying };

  // What is known of one bucket, which has run eagerly once.
  struct BucketGraph {
    std::optional<Graph> graph;
    bool refused = false;  // it failed: never again
  };

  CudaLane(const CudaWeights& weights, const ModelShape& shape, const float* inv_freq,
           const LaneOptions& options)
      : weights_(weights), shape_(shape), inv_freq_(inv_freq), options_(options) {}

  Status allocate_step_memory();
  Status find_resident_blocks();
  Status rehearse(const std::function<void(const StepBatch&)>& forward, Buffer logits,
                  std::span<const int32_t> rows, int32_t context_tokens, bool asks_for_all);
  Status start(const StepBatch& batch);
  void set_maxima(const StepBatch& batch);
  int32_t splits_of(int64_t n_sequences) const;
  AttentionParams attention_params(int32_t layer, const AttentionOptions& options, const Rows& qkv,
                                   const Rows& out) const;
  float* cos_sin_of(int32_t rope) const;

  Mode mode_of_bucket() const;
  bool skips() const { return mode_ == Mode::replaying || !failure_.ok(); }
  void note(const Status& status);
  void note(cudaError_t error, const char* what);
  Rows& rows_of(Buffer buffer) { return buffers_[static_cast<size_t>(buffer.index)]; }
  // Makes `rows` as many as `n` and `n_rows` say, in one of its forms.
  float* write_floats(Rows& rows, int64_t n, const int32_t* n_rows);
  void* write_elements(Rows& rows, int64_t n, const int32_t* n_rows);
  // `rows` in the form that products read.
  const void* elements_of(Rows& rows);
  // All of a norm but where it goes.
  RmsNormParams norm_params(const Rows& from, VectorId weight) const;
  void multiply(MatrixId weight, Buffer in, Buffer out, bool add);
  Status copy_to_device(std::span<const uint8_t> bytes, const HostStep& from);
  Status run_sampling(Buffer logits);
  Status edit_logits(HostStep& step, Buffer logits, const EditLayout& layout,
                     std::span<const SampleRow> rows);
  LogitProcessorParams edit_params(Buffer logits, const EditLayout& layout);
  Status copy_logprobs(HostStep& step, Buffer logits);
  Status finish_sampling(HostStep& step, Buffer logits, std::span<const SampleRow> rows);
  Status launch_graph();
  Status give_up_steps();
  Status come_to_rest();
  Status give_up_graph(Status failure);
  void log_once(const Status& failure);
  void read_logprobs(const HostStep& step, std::span<SampledToken> out) const;
  HostStep& host_step() { return host_steps_[next_host_step_]; }

  // Constant after construction.
  const CudaWeights& weights_;
  const ModelShape& shape_;
  const float* const inv_freq_;  // (ropes, head_dim / 2), device
  const LaneOptions options_;

  Stream stream_;  // before what is freed on it
  Cublas cublas_;
  std::vector<Rows> buffers_;
  int64_t rows_max_ = 0;        // of the largest buffer
  int64_t logit_rows_max_ = 0;  // of the smallest
  int32_t n_resident_ = 0;      // blocks of decode attention that the device holds at a time
  std::array<int32_t, 2> prefill_resident_ = {};  // of prefill's, plain and on tensor cores

  // Allocated by the first step.
  std::optional<StepLayout> layout_;
  DeviceBuffer step_memory_;  // StepLayout
  DeviceBuffer cos_sin_;      // (ropes, rows_max, head_dim)
  DeviceBuffer attention_workspace_;
  DeviceBuffer sampling_workspace_;
  DeviceBuffer sampled_;  // (logit_rows_max): the last step's tokens
  DeviceBuffer logprobs_;
  DeviceBuffer edits_;  // EditLayout; it grows
  std::array<HostStep, 2> host_steps_;
  size_t next_host_step_ = 0;
  size_t oldest_host_step_ = 0;

  // The step at hand.
  Mode mode_ = Mode::eager;
  int32_t bucket_ = 0;    // of a step that decodes only
  StepTables step_ = {};  // in step_memory_, with this step's maxima
  int64_t n_rows_ = 0;    // that products compute: the bucket's if it only decodes
  int64_t n_logit_rows_ = 0;
  bool decodes_ = false;  // and does nothing else
  bool has_decode_ = false;
  bool has_prefill_ = false;
  int32_t prefix_max_ = 0;     // tokens before a prefilled sequence's rows
  Status failure_;             // the first
  int32_t failed_bucket_ = 0;  // whose graph it was; 0: of no graph

  bool captures_ = true;     // until memory is short for it
  bool recovering_ = false;  // from a failure until a step is collected
  std::map<int32_t, BucketGraph> graphs_;
  std::set<std::pair<int32_t, std::string>> logged_;  // failures, by failed_bucket_
};

}  // namespace parkd::cuda
