// Lane: one stream of steps on a device, and the ops that a step is made of.
//
// The model (model.h) is written once, in textbook order, on a Lane's ops. A Lane belongs to one
// EngineWorker thread. KV blocks are handed out by KvCache; a lane writes only blocks of its own
// sequences.
//
// I7, a rule of every implementation's arithmetic: a row's result depends on that row's input and
// position alone, never on the number of rows beside it, the number of lanes or helper threads, or
// how a prompt was cut into steps. Parallelise over rows and output columns, never split K; merge
// KV tiles at absolute positions in tile order; quantise activations per row and 32-block.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "lib/base/sampling.h"
#include "lib/base/status.h"
#include "lib/model/logit_edits.h"
#include "lib/model/shape.h"

namespace parkd {

struct MatrixId {
  int32_t index = -1;
};
struct VectorId {
  int32_t index = -1;
};
struct Buffer {
  int32_t index = -1;
};

// One sequence's share of a step: rows [first_row, first_row + n_rows) are its tokens at positions
// [context_tokens, context_tokens + n_rows). Its block table covers at least all of them.
struct StepSequence {
  int32_t first_row = 0;
  int32_t n_rows = 0;
  int32_t context_tokens = 0;
  std::span<const int32_t> block_table;  // KV block of each block_size tokens, by position
};

struct StepBatch {
  // (n_rows); -1 - i is the token that the lane's last step chooses from its logit row i, which the
  // host has not collected yet. Only where Lane::steps_ahead() > 0.
  std::span<const TokenId> tokens;
  std::span<const StepSequence> sequences;
  std::span<const int32_t> logit_rows;  // rows whose logits are wanted, ascending
};

struct SampleRow {
  const SamplingParams* params = nullptr;
  int32_t choice_index = 0;
  int32_t position = 0;  // of the token being chosen, counted from the start of the sequence
  // What penalties and biases change, in ascending order of tokens; none for most requests.
  std::span<const LogitEdit> edits = {};
  // The logit row in which the lane's last step chooses a token that the edits do not count yet;
  // -1: they count all. Only where Lane::steps_ahead() > 0.
  int32_t unseen_row = -1;
};

// What a layer's heads go through before they meet; its plan (shape.h) and weights say it.
struct RopeOptions {
  VectorId q_norm;         // (head_dim): each head of q is RMS-normed first; index -1: it is not
  VectorId k_norm;         // the same of k; both or neither
  int32_t rope = kNoRope;  // of ModelShape::ropes
  VectorId q_bias;         // (n_heads * head_dim): added before all else; index -1: nothing is
  VectorId k_bias;         // (n_kv_heads * head_dim), as v_bias; all three or none
  VectorId v_bias;
  QueryScale query_scale;
};

struct AttentionOptions {
  float scale = 0;     // of q * k
  int32_t window = 0;  // the last so many tokens are seen, the row's own included; 0: all
};

class Lane {
 public:
  virtual ~Lane() = default;

  // A float buffer of up to `rows_max` rows of `columns`. Only while the model is being built.
  virtual Buffer make_buffer(int64_t rows_max, int64_t columns) = 0;

  // Two things before the lane's first job, each once, after make_buffer(); `forward` computes a
  // step up to the logits, as begin_step() and the ops of the model. A lane for which they were not
  // done allocates as it goes. Errors: exhausted, internal, unavailable.
  // The first runs the largest step that there can be, so that all is allocated that steps need:
  // what is free then is free for KV memory. A KV block is enough for it.
  virtual Status run_largest_step(const std::function<void(const StepBatch&)>& forward,
                                  Buffer logits) = 0;
  // The second, with the KV memory of the jobs: what is compiled or captured once is.
  virtual Status prepare(const std::function<void(const StepBatch&)>& forward, Buffer logits) = 0;

  // How many steps may be begun after one that is not collected: 0 computes at once, 1 keeps the
  // device busy while the host reads what it chose.
  virtual int32_t steps_ahead() const = 0;

  // Starts a step. The spans must live until sample() or end_step() returns.
  virtual void begin_step(const StepBatch& batch) = 0;

  // The ops, in textbook order. Each reads its inputs' current row count and sets its output's.
  virtual void embed(MatrixId table, float scale, Buffer out) = 0;  // out: (n_rows, hidden), scaled
  // out = in / sqrt(mean(in^2) + eps) * weight
  virtual void rms_norm(Buffer in, VectorId weight, Buffer out) = 0;
  virtual void rms_norm_add(Buffer in, VectorId weight, Buffer sum) = 0;  // sum += rms_norm(in)
  virtual void matmul(MatrixId weight, Buffer in, Buffer out) = 0;        // out = in * weight^T
  virtual void matmul_add(MatrixId weight, Buffer in, Buffer sum) = 0;    // sum += in * weight^T
  // qkv: (n_rows, (n_heads + 2 n_kv_heads) * head_dim), q then k then v. Adds biases,
  // norms, rotates and scales q in place; adds biases to k and v, norms and rotates k and writes
  // both of every row into the layer's KV blocks.
  virtual void rope_and_store(int32_t layer, const RopeOptions& options, Buffer qkv) = 0;
  // Causal attention of every row over its sequence's KV up to and with itself.
  // out: (n_rows, n_heads * head_dim)
  virtual void attention(int32_t layer, const AttentionOptions& options, Buffer qkv,
                         Buffer out) = 0;
  // gate_up: (n_rows, 2 * ffn), gate then up. out = activation(gate) * up
  virtual void gate_mul(Activation activation, Buffer gate_up, Buffer out) = 0;
  virtual void gather_logit_rows(Buffer in, Buffer out) = 0;  // out: (n_logit_rows, columns)

  // Ends a step by choosing a token from each row of `logits`. rows: (n_logit_rows); their params
  // must live until the step is collected, their edits until sample() returns.
  virtual void sample(Buffer logits, std::span<const SampleRow> rows) = 0;
  // Ends a step that samples nothing.
  virtual void end_step() = 0;

  // Waits for the oldest ended step and gives what it chose; out: its (n_logit_rows), empty for one
  // that sampled nothing. Once for each step, in order. A row that holds NaN or +inf, or nothing
  // finite, gets token -1 and harms no other. After an error no step of the lane runs any more
  // and steps not collected never will be. exhausted: memory was short; internal: a step failed on
  // a device that is well; after both the lane may begin new steps, the same ones too, which after
  // internal it computes by its plainest way. Any other: the device is lost, and nothing more can
  // run on this backend.
  virtual Status collect(std::span<SampledToken> out) = 0;

  // Row `row` of `buffer` as floats, before the step is ended; for the self-check, tests and
  // teacher forcing.
  virtual void read_row(Buffer buffer, int64_t row, std::span<float> out) = 0;
};

}  // namespace parkd
