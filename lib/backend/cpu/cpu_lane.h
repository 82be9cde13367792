// CpuLane: a Lane that computes each op at once, on its own team of threads.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "kernels/cpu/cpu_kernels.h"
#include "lib/backend/cpu/cpu_weights.h"
#include "lib/backend/cpu/mapped_memory.h"
#include "lib/backend/cpu/team.h"
#include "lib/model/backend.h"
#include "lib/model/sampler.h"

namespace parkd {

class CpuLane final : public Lane {
 public:
  // `weights` is shared with the other lanes and outlives this one, as `shape` does.
  CpuLane(const CpuWeights& weights, const ModelShape& shape, const cpu::CpuKernels& kernels,
          int team_size);

  // Bytes that make_buffer() maps.
  static int64_t buffer_bytes(int64_t rows_max, int64_t columns);
  Buffer make_buffer(int64_t rows_max, int64_t columns) override;
  // Pages come as they are written.
  Status run_largest_step(const std::function<void(const StepBatch&)>&, Buffer) override {
    return {};
  }
  Status prepare(const std::function<void(const StepBatch&)>&, Buffer) override { return {}; }
  int32_t steps_ahead() const override { return 0; }
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

 private:
  // Float rows, and the forms that products read, made when one first does. All of it is address
  // space until written.
  struct Rows {
    int64_t rows_max = 0;
    int64_t rows = 0;
    int64_t columns = 0;
    int64_t stride = 0;  // of f32, q8 and bf16 rows, a multiple of 32
    MappedMemory memory;
    float* f32 = nullptr;
    int8_t* q8 = nullptr;
    cpu::ActivationBlock* blocks = nullptr;
    uint16_t* bf16 = nullptr;
    bool q8_made = false;
    bool bf16_made = false;

    float* row(int64_t i) const { return f32 + i * stride; }
  };

  // One call of the attention kernel: some queries of a sequence on one kv head.
  struct AttentionUnit {
    int32_t sequence;
    int32_t kv_head;
    int32_t first_query;
    int32_t n_queries;
  };

  Rows& rows_of(Buffer buffer) { return buffers_[static_cast<size_t>(buffer.index)]; }
  // Sets the row count of a buffer about to be written.
  Rows& write(Buffer buffer, int64_t rows);
  void prepare(const CpuMatrix& matrix, Rows& in);
  void multiply(MatrixId weight, Buffer in, Buffer out, bool add);
  void fill_rope_table(const Rope& rope, std::vector<float>& cos_sin);
  void plan_attention();
  void add_biases(const RopeOptions& options, float* qkv) const;
  void scale_query(const QueryScale& scale, int64_t position, float* q) const;
  void norm_heads(VectorId weight, int32_t n_heads, float* heads) const;
  void clear_new_tiles(int32_t layer);

  const CpuWeights& weights_;
  const ModelShape& shape_;
  const cpu::CpuKernels& kernels_;
  Team team_;

  std::vector<Rows> buffers_;
  int64_t rows_max_ = 0;  // of the largest buffer

  // The step at hand.
  StepBatch batch_;
  int64_t n_rows_ = 0;
  std::vector<std::vector<float>> cos_sin_;  // of each rope: (rows_max, head_dim / 2, 2)
  std::vector<int32_t> sequence_of_row_;     // (rows_max)
  std::vector<AttentionUnit> units_;         // capacity grows once
  std::vector<MappedMemory> workspaces_;     // (team)
  std::vector<Sampler> samplers_;            // (team)
  std::vector<SampledToken> sampled_;        // of the step that is ended and not collected
};

}  // namespace parkd
