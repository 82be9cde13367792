// The device's kernels as plain functions: each asserts its shapes, launches on `stream` and
// returns at once (cudaGetLastError's answer, or cudaErrorInvalidValue for a shape it cannot do).
// No launcher allocates, synchronises or keeps state; all pointers are device memory, 16-byte
// aligned, and live until the stream has passed. Every kernel may be captured into a graph: sizes
// that change from step to step are read from device memory (StepTables::counts), grids are for the
// most that the capture allows, and blocks beyond the counts return at once.
//
// Shapes, slowest first; n_rows is the step's tokens. Each .cu's header has formula, geometry,
// bytes and flops, tolerance, source and its CPU twin (kernels/cpu/cpu_kernels.h,
// lib/model/sampler.h). Nothing here promises I7's bits: sums are float, in the order of the
// launch geometry. The sampler alone gives the CPU's bits for equal logits.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace parkd::cuda {

// Element type of weights' tiles, activations that meet a matrix, and KV.
enum class Element : int32_t { f32, f16, bf16 };

inline int element_bytes(Element element) {
  return element == Element::f32 ? 4 : 2;
}

// What a step is, in device memory. Filled by the lane with one copy a step.
struct StepTables {
  struct Counts {
    int32_t n_rows;
    int32_t n_sequences;
    int32_t n_logit_rows;
    int32_t n_decode;  // the first n_decode sequences have one row each; the others are chunks
    int32_t block_table_stride;
  };
  const Counts* counts;
  int32_t* tokens;                  // (n_rows); -1 - i: what the last step sampled in its row i
  const int32_t* positions;         // (n_rows): of each token in its sequence
  const int32_t* sequence_of_row;   // (n_rows)
  const int32_t* first_row;         // (n_sequences)
  const int32_t* rows_of_sequence;  // (n_sequences)
  const int32_t* context_tokens;    // (n_sequences): positions before its first row
  const int32_t* block_tables;      // (n_sequences, counts->block_table_stride)
  const int32_t* logit_rows;        // (n_logit_rows)
  // The most that the launch is for; the counts are at most these.
  int32_t rows_max;
  int32_t sequences_max;
  int32_t logit_rows_max;
  int32_t decode_max;
};

// KV memory of all layers: (n_layers, n_blocks, K or V, n_kv_heads, block_size, head_dim).
struct KvMemory {
  void* base;
  Element element;
  int32_t n_layers;
  int64_t n_blocks;
  int32_t n_kv_heads;
  int32_t block_size;  // tokens; a multiple of 8, in attention at most 1024
  int32_t head_dim;    // 64, 80, 96, 128 or 256 in attention; a multiple of 8 elsewhere
};

// --- feed_tokens.cu: tokens[row] = tokens[row] < 0 ? sampled[-1 - tokens[row]] : tokens[row], so
// that a step can start before the host has seen what the one before it chose. A sampled -1 (a
// failed row) becomes token 0: the row is computed and its result is dropped by the host.
struct FeedTokensParams {
  StepTables step;
  const int32_t* sampled;  // of the last step
};
cudaError_t launch_feed_tokens(const FeedTokensParams& params, cudaStream_t stream);

// --- embed.cu: out[row] = table[token] * scale; table (vocab, hidden) of `element`, out (n_rows,
// hidden) float.
struct EmbedParams {
  StepTables step;
  const void* table;
  Element element;
  int32_t hidden;
  float* out;
  float scale;
};
cudaError_t launch_embed(const EmbedParams& params, cudaStream_t stream);

// --- rms_norm.cu: out = in / sqrt(mean(in^2) + eps) * weight, or out += the same. in (n_rows,
// columns) float, out (n_rows, columns) of `element`.
struct RmsNormParams {
  const int32_t* n_rows;  // device
  int32_t rows_max;
  int32_t columns;  // a multiple of 4
  float eps;
  const float* in;
  const float* weight;
  void* out;
  Element element;
  bool adds;  // to `out`, which is float then and not `in`
};
cudaError_t launch_rms_norm(const RmsNormParams& params, cudaStream_t stream);

// --- rope.cu: cos_sin (n_rows, head_dim / 2, 2) of this step's positions, angles in double, times
// the amplitude; (1, 0) of a pair whose frequency is 0. Once a step and rope. Then, a layer at a
// time: adds biases where there are any, RMS-norms each head of q and k where there are norms,
// rotates and scales q in place, rotates k, and writes k and v into the KV blocks. qkv (n_rows,
// (n_heads + 2 n_kv_heads) * head_dim) float.
struct RopeTableParams {
  StepTables step;
  const float* inv_freq;  // (head_dim / 2)
  int32_t head_dim;
  float amplitude;
  float* cos_sin;
};
cudaError_t launch_rope_table(const RopeTableParams& params, cudaStream_t stream);

struct RopeStoreParams {
  StepTables step;
  KvMemory kv;
  int32_t layer;
  int32_t n_heads;
  bool interleaved;      // pairs (2i, 2i + 1), else (i, i + head_dim / 2)
  const float* cos_sin;  // nullptr: nothing is rotated
  float* qkv;
  const float* q_norm;  // (head_dim), as k_norm; both or neither. With them head_dim is at most 256
  const float* k_norm;
  float eps;            // of the norms
  const float* q_bias;  // (n_heads * head_dim); nullptr: none
  const float* k_bias;  // (n_kv_heads * head_dim), as v_bias; all three or none
  const float* v_bias;
  float query_beta;      // q *= 1 + beta * ln(1 + floor(position / period)); 0: it is not scaled
  int32_t query_period;  // at least 1
};
cudaError_t launch_rope_and_store(const RopeStoreParams& params, cudaStream_t stream);

// --- attention: out (n_rows, n_heads * head_dim) of `element`; q is the first part of qkv's rows.
// Decode (attention_decode.cu) does the first counts.n_decode sequences: GQA packed, KV split among
// `n_splits` blocks a (sequence, kv head) and merged by a second kernel. Prefill
// (attention_prefill.cu) does the other sequences' rows, causal. Both are launched every step that
// has such sequences.
struct AttentionParams {
  StepTables step;
  KvMemory kv;
  int32_t layer;
  int32_t n_heads;
  float scale;
  int32_t window;  // a row sees the last so many tokens, its own included; 0: all
  const float* qkv;
  void* out;
  Element element;
  int32_t n_splits;        // decode; attention_splits()
  int32_t prefill_splits;  // prefill; prefill_splits()
  float* workspace;        // attention_workspace_floats() and prefill_workspace_floats() floats
  bool tensor_cores;       // prefill by the mma.sync path, which no GPU has confirmed, where it can
};
// Whether there are attention kernels for this head_dim and so many query heads a kv head.
bool attention_supports(int32_t head_dim, int32_t group);
// Whether launch_attention_prefill does it on tensor cores: where `tensor_cores` allows it, KV of
// f16 or bf16, without a window, head_dim at most 128. Their kernel has no registers for the rest.
bool prefill_takes_tensor_cores(const AttentionParams& params);
// Blocks of the decode kernel that a multiprocessor of the current device holds at a time, for KV
// of this kind (cudaOccupancyMaxActiveBlocksPerMultiprocessor).
cudaError_t attention_resident_blocks(Element kv, int32_t head_dim, int32_t group,
                                      int32_t* n_blocks);
// Splits with which up to this many sequences and tokens fill a device that holds `n_resident`
// blocks, all at once: what begins when others have ended would take as long again.
int32_t attention_splits(int32_t n_sequences, int32_t n_heads, int32_t n_kv_heads,
                         int32_t tokens_max, int32_t n_resident);
int64_t attention_workspace_floats(int32_t n_sequences, int32_t n_heads, int32_t head_dim,
                                   int32_t n_splits);
// The same of launch_attention_prefill: of the kernel on tensor cores or of the plain one.
cudaError_t prefill_resident_blocks(Element kv, int32_t head_dim, bool tensor_cores,
                                    int32_t* n_blocks);
inline constexpr int32_t kPrefillSplitTokens = 256;  // of a split, at least
// Splits of each tile for a launch of these params, whose prefill_splits and workspace are not
// read; `tokens_max`: the most that lie before a sequence's rows. More than one fill the device at
// most, so that the workspace is never more than prefill_workspace_floats(n_resident, ...).
int32_t prefill_splits(const AttentionParams& params, int32_t tokens_max, int32_t n_resident);
// Of so many blocks: tiles times kv heads times splits; none are needed without splits.
int64_t prefill_workspace_floats(int32_t n_blocks, int32_t head_dim, bool tensor_cores);
cudaError_t launch_attention_decode(const AttentionParams& params, cudaStream_t stream);
cudaError_t launch_attention_prefill(const AttentionParams& params, cudaStream_t stream);

// --- gate_mul.cu: out = activation(gate) * up. gate_up (n_rows, 2 * ffn) float, gate then up; out
// (n_rows, ffn) of `element`.
enum class Gate : int32_t { silu, gelu_tanh };  // lib/model/shape.h's Activation
struct GateMulParams {
  const int32_t* n_rows;  // device
  int32_t rows_max;
  int32_t ffn;
  const float* gate_up;
  void* out;
  Element element;
  Gate activation;
};
cudaError_t launch_gate_mul(const GateMulParams& params, cudaStream_t stream);

// --- gather.cu: out[i] = in[logit_rows[i]], float rows of `columns`.
struct GatherRowsParams {
  StepTables step;
  const float* in;
  float* out;
  int32_t columns;
};
cudaError_t launch_gather_rows(const GatherRowsParams& params, cudaStream_t stream);

// --- dequantise.cu: GGUF tensor rows as they lie in the file -> (rows, columns) of `element`,
// which cuBLAS reads. `type` is a TensorType, by its (ggml's) number.
struct DequantiseParams {
  const uint8_t* from;
  int32_t type;
  int64_t rows;
  int64_t columns;  // whole blocks of the type
  void* to;
  Element element;
};
cudaError_t launch_dequantise(const DequantiseParams& params, cudaStream_t stream);

// --- sampling.cu: one token from each row of logits (n_logit_rows, vocab), by the algorithm of
// lib/model/sampler.h and with its bits. -1 for a row that holds NaN or +inf or nothing finite.
struct SampleRowParams {
  float temperature;
  float top_p;
  float min_p;
  int32_t top_k;  // 0 = off
  uint64_t seed;
  uint32_t choice_index;
  uint32_t position;
};
struct SamplingParams {
  const int32_t* n_rows;  // device
  int32_t rows_max;
  int32_t vocab;
  const float* logits;
  const SampleRowParams* rows;  // (n_rows), device
  void* workspace;              // sampling_workspace_bytes()
  int32_t* tokens;              // (n_rows)
};
int64_t sampling_workspace_bytes(int32_t rows_max, int32_t vocab);
cudaError_t launch_sampling(const SamplingParams& params, cudaStream_t stream);

// --- logit_processors.cu: before sampling, in place, only where a row has edits; by the formula of
// lib/model/sampler.h and with its bits. Each edit's bias becomes the logit as it was, and
// restore_logits writes it back, for log-probabilities of the raw row.
struct LogitProcessorRow {
  float presence_penalty;
  float frequency_penalty;
  float repetition_penalty;  // 1 = off
  int32_t first_edit;        // into edits
  int32_t n_edits;           // of distinct tokens; 0 = this row stays as it is
  int32_t unseen_row;        // of `sampled`: a token that in_output does not count; -1: none.
                             // Else edits[first_edit + n_edits] is a place for it.
};
struct LogitEdit {
  int32_t token;
  int32_t in_output;  // times generated; 0: only in the prompt; -1: no penalty counts it
  float bias;
};
struct LogitProcessorParams {
  const int32_t* n_rows;  // device
  int32_t rows_max;
  int32_t vocab;
  float* logits;
  const LogitProcessorRow* rows;  // (n_rows)
  LogitEdit* edits;
  const int32_t* sampled;  // of the last step
};
cudaError_t launch_logit_processors(const LogitProcessorParams& params, cudaStream_t stream);
cudaError_t launch_restore_logits(const LogitProcessorParams& params, cudaStream_t stream);

// --- logprobs.cu: only when asked for. logprob[i] = log softmax of the raw row at tokens[i]; the
// `top` best ids and their log-probabilities, best first, lowest id first among equals; -1 and 0
// where fewer are possible. 0 and none for a row whose token is -1.
struct LogprobParams {
  const int32_t* n_rows;  // device
  int32_t rows_max;
  int32_t vocab;
  const float* logits;
  const int32_t* tokens;  // (n_rows)
  float* logprob;         // (n_rows)
  int32_t top;            // 0..20
  int32_t* top_tokens;    // (n_rows, top)
  float* top_logprobs;    // (n_rows, top)
};
cudaError_t launch_logprobs(const LogprobParams& params, cudaStream_t stream);

}  // namespace parkd::cuda
