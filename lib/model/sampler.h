// Sampler: chooses one token from one row of logits, the same token for the same (logits, params,
// choice_index, position) on every machine. Owned by one thread at a time; allocates only when made
// and when alternatives are asked for.
//
// The algorithm, written so that a device can give the same bits:
//   0. Biases and penalties, where the row has edits (logit_edits.h); edited_logit() below. In this
//      order, each product, quotient, difference and sum rounded to float by itself: bias is added;
//      then repetition_penalty, of tokens in prompt or output: a logit above 0 is divided by it,
//      another multiplied (Keskar et al., "CTRL", 2019); then, of tokens in the output, logit -
//      frequency_penalty * times_in_output - presence_penalty (OpenAI's API reference). Output is
//      what this choice generated.
//   1. best = the greatest logit, the lowest id among equals. Temperature below 1e-5 (vLLM's limit)
//      or top_k 1 stops here.
//   2. Weights are integers: w[i] = floor(2^30 * e^((x[i] - x[best]) / temperature)), e^ being
//      weight_exponential below (float products and sums, never fused). A token less likely than
//      2^-30 of the best is never chosen; of 49152 such tokens that loses at most 5e-5. Integer
//      sums have no order, so any parallel reduction agrees.
//   3. Filters, in this order: min_p keeps those of at least min_p * w[best], top_k the k greatest
//      logits (lowest ids among equals; vLLM keeps every equal of the k-th), top_p the shortest run
//      of what is left, heaviest first (lowest ids among equals), whose weight reaches top_p of its
//      sum. (min_p commutes with top_k, so they may be done in either order.)
//   4. noise = sampling_noise(seed, choice_index, position), 64 bits of Philox4x32-10; the choice
//      is the first kept id, ascending, whose running sum exceeds floor(noise * total / 2^64).
// The order of all steps is vLLM's V1 sampler's since 0.10 (vllm/v1/sample/sampler.py, class
// Sampler: logit bias, penalties, temperature, min_p; ops/topk_topp_sampler.py: top_k, top_p).
// llama.cpp's differs: its temperature comes last by default.
// Log-probabilities are those of the softmax of the raw logits: temperature 1, without penalties
// and biases, nothing filtered.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "lib/model/lane.h"

namespace parkd {

class Sampler {
 public:
  explicit Sampler(int64_t vocab);

  // `logits` has at most `vocab` entries; -inf means impossible. out.token is -1 when no token can
  // be chosen: a logit is NaN or +inf, or all are -inf. out.top is filled with params.top_logprobs
  // entries, best first, lowest id first among equals; params.logprobs alone fills out.logprob.
  void sample_row(std::span<const float> logits, const SampleRow& row, SampledToken& out);

 private:
  struct Candidate {
    float logit;
    TokenId token;
  };
  struct Weighted {
    int32_t weight;
    TokenId token;
  };

  bool scan(std::span<const float> logits);
  // The row with its edits, until the next call.
  std::span<const float> edited(std::span<const float> logits, const SampleRow& row);
  TokenId first_of(std::span<const float> logits, float value) const;
  // The `k` best of `logits` into candidates_, best first; fewer when fewer are possible.
  void find_best(std::span<const float> logits, int64_t k);
  TokenId choose_from_all(std::span<const float> logits, const SamplingParams& params,
                          uint64_t noise);
  TokenId choose_filtered(std::span<const float> logits, const SamplingParams& params,
                          uint64_t noise);
  uint64_t weigh_all(std::span<const float> logits, float inverse_temperature, int32_t least);
  void weigh_best(std::span<const float> logits, const SamplingParams& params);
  void weigh_heaviest(std::span<const float> logits, const SamplingParams& params);
  void keep_top_p(float top_p, uint64_t total);
  void report(std::span<const float> logits, const SamplingParams& params, SampledToken& out);

  std::vector<int32_t> weights_;       // (vocab)
  std::vector<float> block_max_;       // (vocab / 64) of the row at hand
  std::vector<float> block_max_copy_;  // (vocab / 64)
  std::vector<uint64_t> block_sum_;    // (vocab / 64)
  std::vector<Candidate> candidates_;  // capacity vocab
  std::vector<Weighted> kept_;         // capacity vocab
  std::vector<float> edited_;          // capacity vocab
  float max_ = 0;
};

// What penalties and a bias make of a token's logit. A finite one stays finite within the params'
// ranges (SamplingParams), up to 10^36.
float edited_logit(float logit, const LogitEdit& edit, const SamplingParams& params);

// e^x for x in [-25, 0], clamped below, within 3 ulp: floats multiplied and added, never fused.
float weight_exponential(float x);

}  // namespace parkd
