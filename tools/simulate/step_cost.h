// What a step of the CUDA backend would take of a device, by arithmetic: bytes over bandwidth,
// flops over peak, instructions over issue slots, and the gaps between kernels. A model, never a
// measurement: no GPU has run any of it.
//
// A step is a row of parts (products, output head, attention of decodes, attention of prompts, the
// kernels that work row by row, sampling) that follow each other. A part takes the longer of its
// memory and its arithmetic. Formulas: tools/kernels/kernel_roofline.py, whose page a test compares
// with; shares of the peaks that are reached: Reached. Pure functions, any thread.
#pragma once

#include <cstdint>

#include "tools/simulate/sheets.h"

namespace parkd::simulate {

// Shares of what the data sheet promises. The defaults are assumptions: what good kernels reach.
struct Reached {
  double product_bytes = 0.85;
  double product_flops = 0.65;
  double attention_bytes = 0.80;
  double issue_slots = 0.60;  // of four instructions a clock and multiprocessor
  double row_bytes = 0.70;    // norms, rope, gates, sampling: small kernels
  double prompt_flops =
      0.35;  // prompts' attention on tensor cores, without loads ahead of products
};
// All of the peaks, and no issue slots counted: the roofs of kernels/cuda/README.md.
Reached all_of_the_peaks();

// What one step computes.
struct StepWork {
  int64_t decode_rows = 0;
  int64_t decode_context_tokens = 0;  // KV tokens that all decodes together read
  int64_t prompt_rows = 0;
  int64_t prompt_context_tokens = 0;  // summed over the prompts' rows: the tokens each looks at
  int64_t logit_rows = 0;

  bool decodes_only() const { return prompt_rows == 0; }
};

struct StepCost {
  double memory_s = 0;      // device memory is busy, at the bandwidth that is reached
  double arithmetic_s = 0;  // multiprocessors are busy, at the rates that are reached
  double kernels_s = 0;     // kernels run: of each part the longer of the two
  double idle_s = 0;        // gaps between kernels, and waiting for the host's launches

  double alone_s() const { return kernels_s + idle_s; }
};

// Assumed, as in kernel_roofline.py: from the end of a small kernel to the start of the next.
inline constexpr double kGapS = 1.5e-6;
// Assumed: host time of one launch, where a step is not a graph. Steps with prompt rows are none.
inline constexpr double kLaunchS = 2.5e-6;

// Requires: rows in the work.
StepCost cost_of(const StepWork& work, const ModelSheet& model, const DeviceSheet& device,
                 const Reached& reached);

// Warp instructions of attention_decode's loop for a run of 8 tokens of head_dim 128 in bf16 whose
// KV head serves `group` query heads: counted in the SASS of sm_90 (381, 547, 882 and 1,542 for 1,
// 2, 4 and 8), other head_dims in proportion.
double decode_run_instructions(int32_t group, int32_t head_dim);

// Warp instructions of attention_prefill_mma's loop for a tensor flop: 677 for 524,288 at head_dim
// 128, 417 for 262,144 at 64 (sm_90).
double prompt_flop_instructions(int32_t head_dim);

// Bytes of the weights in bf16, embedding and head included; of a token's K and V; of a lane's
// buffers for steps of `step_tokens` and so many logit rows.
double weight_bytes(const ModelSheet& model);
double kv_token_bytes(const ModelSheet& model);
double lane_bytes(const ModelSheet& model, int32_t step_tokens, int32_t logit_rows);

}  // namespace parkd::simulate
