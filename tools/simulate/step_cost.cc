#include "tools/simulate/step_cost.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "lib/base/check.h"
#include "lib/base/units.h"

namespace parkd::simulate {
namespace {

constexpr double kElement = 2;  // bytes: weights, KV, what meets a product
constexpr double kReal = 4;     // between kernels
constexpr int32_t kKernelsOfLayer = 10;
constexpr int32_t kKernelsOfStep = 8;
constexpr int32_t kCopiesOfStep = 3;
constexpr double kIssuesPerClock = 4;  // of a multiprocessor
constexpr int32_t kRunTokens = 8;      // attention_decode.cu
constexpr int32_t kSplitTokensMin = 128;

struct Numbers {
  explicit Numbers(const ModelSheet& model)
      : q(double{1} * model.n_heads * model.head_dim),
        kv(double{1} * model.n_kv_heads * model.head_dim),
        hidden(model.hidden),
        ffn(model.ffn),
        layers(model.n_layers),
        vocab(model.vocab),
        layer_weights(hidden * (q + 2 * kv) + q * hidden + 3 * hidden * ffn) {}
  double q, kv, hidden, ffn, layers, vocab, layer_weights;
};

class Sum {
 public:
  // A part of the step: seconds of device memory and of the multiprocessors.
  void add(double memory_s, double arithmetic_s) {
    cost.memory_s += memory_s;
    cost.arithmetic_s += arithmetic_s;
    cost.kernels_s += std::max(memory_s, arithmetic_s);
  }
  StepCost cost;
};

// Warp instructions of the whole device.
double issues_per_s(const DeviceSheet& device, const Reached& reached) {
  return kIssuesPerClock * reached.issue_slots * device.n_multiprocessors * device.clock_hz;
}

// Of head_dim 128 in bf16, by the registers that kernels/cuda/budgets.json has for sm_90.
int32_t blocks_per_multiprocessor(int32_t group) {
  return group == 1 ? 6 : group == 2 ? 4 : group <= 4 ? 3 : 2;
}

// As attention_splits() of attention_decode.cu.
double splits_of(const StepWork& work, const ModelSheet& model, const DeviceSheet& device) {
  const int64_t blocks = work.decode_rows * model.n_kv_heads;
  const int64_t filling = device.n_multiprocessors *
                          blocks_per_multiprocessor(model.n_heads / model.n_kv_heads) / blocks;
  const int64_t useful = ceil_div(work.decode_context_tokens, work.decode_rows * kSplitTokensMin);
  return static_cast<double>(std::max<int64_t>(1, std::min(filling, useful)));
}

void add_products(const StepWork& work, const Numbers& n, const DeviceSheet& device,
                  const Reached& reached, Sum& sum) {
  const auto rows = static_cast<double>(work.decode_rows + work.prompt_rows);
  const auto logit_rows = static_cast<double>(work.logit_rows);
  const double bandwidth = device.bytes_per_s * reached.product_bytes;
  const double flops = device.tensor_flops * reached.product_flops;
  // Weights once; inputs as bf16, outputs as float, residual sums read and written.
  const double row_bytes = kElement * (n.hidden + n.q + n.hidden + n.ffn) +
                           kReal * (n.q + 2 * n.kv + 2 * n.ffn + 4 * n.hidden);
  sum.add(n.layers * (kElement * n.layer_weights + rows * row_bytes) / bandwidth,
          2 * n.layers * n.layer_weights * rows / flops);
  if (work.logit_rows == 0) return;
  const double head = n.hidden * n.vocab;
  sum.add((kElement * head + logit_rows * (kElement * n.hidden + kReal * n.vocab)) / bandwidth,
          2 * head * logit_rows / flops);
}

void add_decode_attention(const StepWork& work, const ModelSheet& model, const Numbers& n,
                          const DeviceSheet& device, const Reached& reached, Sum& sum) {
  if (work.decode_rows == 0) return;
  const auto rows = static_cast<double>(work.decode_rows);
  const auto context = static_cast<double>(work.decode_context_tokens);
  const double splits = splits_of(work, model, device);
  // q and the output a row; K and V a token; what splits leave, written and read, where there are
  // some.
  const double left = splits > 1 ? 2 * kReal * model.n_heads * (model.head_dim + 2.0) * splits : 0;
  const double bytes = rows * (kReal * n.q + kElement * n.q + left) + context * 2 * kElement * n.kv;
  const double runs = context * model.n_kv_heads / kRunTokens;
  const int32_t group = std::max(1, model.n_heads / model.n_kv_heads);
  const double issue_s =
      runs * decode_run_instructions(group, model.head_dim) / issues_per_s(device, reached);
  sum.add(n.layers * bytes / (device.bytes_per_s * reached.attention_bytes), n.layers * issue_s);
}

// A tile's K and V come from L2: what it reads of device memory is in no proportion to its
// arithmetic and is left out.
void add_prompt_attention(const StepWork& work, const ModelSheet& model, const Numbers& n,
                          const DeviceSheet& device, const Reached& reached, Sum& sum) {
  if (work.prompt_rows == 0) return;
  const double flops = 4 * n.layers * n.q * static_cast<double>(work.prompt_context_tokens);
  const double issue_s =
      flops * prompt_flop_instructions(model.head_dim) / issues_per_s(device, reached);
  sum.add(0, std::max(flops / (device.tensor_flops * reached.prompt_flops), issue_s));
}

// Norms, rope and store, gate_mul; of the step feed, embed, gather and sampling.
void add_row_kernels(const StepWork& work, const Numbers& n, const DeviceSheet& device,
                     const Reached& reached, Sum& sum) {
  const auto rows = static_cast<double>(work.decode_rows + work.prompt_rows);
  const auto logit_rows = static_cast<double>(work.logit_rows);
  const double norm = (kReal + kElement) * n.hidden;
  const double rope = kReal * 2 * (n.q + n.kv) + (kReal + kElement) * n.kv;
  const double gate = (2 * kReal + kElement) * n.ffn;
  const double bytes = rows * (n.layers * (2 * norm + rope + gate) + norm + 6 * n.hidden) +
                       logit_rows * (8 * n.hidden + norm + 2 * kReal * n.vocab);
  sum.add(bytes / (device.bytes_per_s * reached.row_bytes), 0);
}

}  // namespace

Reached all_of_the_peaks() {
  return {1, 1, 1, std::numeric_limits<double>::infinity(), 1, 1};
}

double decode_run_instructions(int32_t group, int32_t head_dim) {
  const auto passes = static_cast<double>(ceil_div(group, 8));
  return (216.0 + 166.0 * std::min(group, 8)) * passes * head_dim / 128;
}

double prompt_flop_instructions(int32_t head_dim) {
  return head_dim >= 128 ? 677.0 / 524'288 : 417.0 / 262'144;
}

StepCost cost_of(const StepWork& work, const ModelSheet& model, const DeviceSheet& device,
                 const Reached& reached) {
  PARKD_CHECK(work.decode_rows + work.prompt_rows > 0, "a step has rows");
  const Numbers n(model);
  Sum sum;
  add_products(work, n, device, reached, sum);
  add_decode_attention(work, model, n, device, reached, sum);
  add_prompt_attention(work, model, n, device, reached, sum);
  add_row_kernels(work, n, device, reached, sum);

  const bool both = work.decode_rows > 0 && !work.decodes_only();
  const int32_t kernels = (kKernelsOfLayer + (both ? 1 : 0)) * model.n_layers + kKernelsOfStep;
  sum.cost.idle_s = kGapS * (kernels + kCopiesOfStep);
  if (!work.decodes_only()) {
    // Launched one by one: where the device is faster than the host, it waits.
    const double launched_s = kLaunchS * (kernels + kCopiesOfStep);
    sum.cost.idle_s = std::max(sum.cost.idle_s, launched_s - sum.cost.kernels_s);
  }
  return sum.cost;
}

double weight_bytes(const ModelSheet& model) {
  const Numbers n(model);
  return kElement * (n.layers * n.layer_weights + (model.own_head ? 2 : 1) * n.hidden * n.vocab);
}

double kv_token_bytes(const ModelSheet& model) {
  const Numbers n(model);
  return 2 * kElement * n.kv * n.layers;
}

// As lib/model's buffer_sizes(), in both forms at most, and sampling's.
double lane_bytes(const ModelSheet& model, int32_t step_tokens, int32_t logit_rows) {
  const Numbers n(model);
  return 2 * kReal *
         (step_tokens * (2 * n.hidden + 2 * n.q + 2 * n.kv + 3 * n.ffn) +
          logit_rows * (2 * n.hidden + n.vocab));
}

}  // namespace parkd::simulate
