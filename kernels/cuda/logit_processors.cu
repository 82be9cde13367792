// Biases and penalties on rows of logits, in place, before sampling, and the raw logits back after
// it. For each token that a row has an edit of its bias is added. Then, of those that prompt or
// output holds (in_output >= 0), logits above 0 are divided by repetition_penalty and others
// multiplied by it; of those in the output, logits lose frequency_penalty * in_output, then
// presence_penalty.
//
// The token that the last step chose for the same sequence is one that the host had not seen when
// it counted: it is found in `sampled` and counted here, in its own edit where it has one, else in
// the place that the row keeps behind its edits. -1 (a failed row) counts nothing.
//
// Shapes: logits (n_rows, vocab) float, rows (n_rows), edits of all rows one after another; within
// a row a token stands once. Each edit's bias becomes the logit as it was, which the second kernel
// writes back, so that log-probabilities can be of the raw row.
// Launch: one block of 128 threads a row. Bytes: 24 an edit (12 and 4 read, 4 and 4 written, the
// logits at random places); back: 12 an edit. Arithmetic: each product, quotient, difference and
// sum rounded by itself. Tolerance: none. Source: Keskar et al., "CTRL", 2019 (repetition),
// OpenAI's API reference (presence, frequency, bias); the order is vLLM's. CPU twin: edited_logit()
// of lib/model/sampler.h. Never run on a GPU.
#include "kernels/cuda/device.h"
#include "kernels/cuda/launch.h"

namespace parkd::cuda {
namespace {

constexpr int kThreads = 128;

__device__ __forceinline__ float edited(float logit, const LogitProcessorRow& row,
                                        int32_t in_output, float bias) {
  logit = __fadd_rn(logit, bias);
  if (in_output >= 0) {
    logit = logit > 0 ? __fdiv_rn(logit, row.repetition_penalty)
                      : __fmul_rn(logit, row.repetition_penalty);
  }
  if (in_output > 0) {
    const float frequency = __fmul_rn(row.frequency_penalty, static_cast<float>(in_output));
    logit = __fsub_rn(__fsub_rn(logit, frequency), row.presence_penalty);
  }
  return logit;
}

__global__ void __launch_bounds__(kThreads) logit_processors_kernel(LogitProcessorParams params) {
  PARKD_SHARED(int32_t, was_found, [1]);
  const auto row_index = static_cast<int32_t>(blockIdx.x);
  if (row_index >= *params.n_rows) return;
  const LogitProcessorRow row = params.rows[row_index];
  const int32_t unseen = row.unseen_row < 0 ? -1 : params.sampled[row.unseen_row];
  float* logits = params.logits + int64_t{row_index} * params.vocab;
  LogitEdit* edits = params.edits + row.first_edit;
  if (threadIdx.x == 0) was_found[0] = 0;
  __syncthreads();
  for (auto i = static_cast<int32_t>(threadIdx.x); i < row.n_edits; i += kThreads) {
    const LogitEdit edit = edits[i];
    int32_t in_output = edit.in_output;
    if (edit.token == unseen) {
      in_output = in_output < 0 ? 1 : in_output + 1;
      was_found[0] = 1;
    }
    const float logit = logits[edit.token];
    edits[i].bias = logit;
    logits[edit.token] = edited(logit, row, in_output, edit.bias);
  }
  __syncthreads();
  if (row.unseen_row < 0 || threadIdx.x != 0) return;
  LogitEdit& place = edits[row.n_edits];
  place.token = -1;
  if (unseen < 0 || was_found[0] != 0) return;
  place.token = unseen;
  place.bias = logits[unseen];
  logits[unseen] = edited(place.bias, row, 1, 0);
}

__global__ void __launch_bounds__(kThreads) restore_logits_kernel(LogitProcessorParams params) {
  const auto row_index = static_cast<int32_t>(blockIdx.x);
  if (row_index >= *params.n_rows) return;
  const LogitProcessorRow row = params.rows[row_index];
  float* logits = params.logits + int64_t{row_index} * params.vocab;
  const LogitEdit* edits = params.edits + row.first_edit;
  const int32_t n_edits = row.n_edits + (row.unseen_row < 0 ? 0 : 1);
  for (auto i = static_cast<int32_t>(threadIdx.x); i < n_edits; i += kThreads) {
    if (edits[i].token >= 0) logits[edits[i].token] = edits[i].bias;
  }
}

cudaError_t launch_rows(void (*kernel)(LogitProcessorParams), const LogitProcessorParams& params,
                        cudaStream_t stream) {
  if (params.rows_max < 0 || params.vocab <= 0) return cudaErrorInvalidValue;
  const dim3 grid(static_cast<unsigned>(params.rows_max));
  return launch({grid, kThreads, 0, stream}, kernel, params);
}

}  // namespace

cudaError_t launch_logit_processors(const LogitProcessorParams& params, cudaStream_t stream) {
  return launch_rows(logit_processors_kernel, params, stream);
}

cudaError_t launch_restore_logits(const LogitProcessorParams& params, cudaStream_t stream) {
  return launch_rows(restore_logits_kernel, params, stream);
}

}  // namespace parkd::cuda
