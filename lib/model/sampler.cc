// Compiled with -ffp-contract=off: a fused product would change the bits of weights and edits.
#include "lib/model/sampler.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>

#include "kernels/common/counter_rng.h"
#include "lib/base/check.h"

namespace parkd {
namespace {

constexpr int64_t kScanBlock = 64;  // logits whose maximum and weight are kept together
constexpr float kGreedyTemperature = 1e-5F;
constexpr float kOne = 1073741824.0F;  // 2^30, the weight of the best
constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

int64_t n_scan_blocks(size_t n) {
  return (static_cast<int64_t>(n) + kScanBlock - 1) / kScanBlock;
}

std::span<const float> scan_block(std::span<const float> logits, int64_t block) {
  const auto first = static_cast<size_t>(block * kScanBlock);
  return logits.subspan(first, std::min<size_t>(kScanBlock, logits.size() - first));
}

// e^x by x = k ln 2 + r and a polynomial of degree 6 in r.
inline float exponential(float x) {
  x = x > -25.0F ? x : -25.0F;
  const float magic = 12582912.0F;  // 1.5 * 2^23: adding it rounds to an integer
  const float shifted = x * 1.44269504F + magic;
  const float k = shifted - magic;
  const float r = (x - k * 0.693359375F) - k * -2.12194440e-4F;
  float p = 1.0F / 720;
  p = p * r + 1.0F / 120;
  p = p * r + 1.0F / 24;
  p = p * r + 1.0F / 6;
  p = p * r + 0.5F;
  p = p * r + 1.0F;
  p = p * r + 1.0F;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(p) +
                              (std::bit_cast<uint32_t>(shifted) << 23));
}

inline int32_t weight_of(float logit, float max, float inverse_temperature) {
  return static_cast<int32_t>(exponential((logit - max) * inverse_temperature) * kOne);
}

// Which of 4 * 31 sizes a weight has: its length in bits and the two bits after the first; 0 for 0.
constexpr uint32_t kWeightSizes = 128;

inline uint32_t weight_size(int32_t weight) {
  const auto bits = static_cast<uint32_t>(weight);
  if (bits < 4) return bits;
  const auto shift = static_cast<uint32_t>(std::bit_width(bits)) - 3;
  return shift * 4 + (bits >> shift);
}

double wanted(float top_p, uint64_t total) {
  return static_cast<double>(top_p) * static_cast<double>(total);
}

int32_t least_weight(const SamplingParams& params) {
  return static_cast<int32_t>(std::clamp(params.min_p, 0.0F, 1.0F) * kOne);
}

// floor(noise * total / 2^64) < total, by halves: no 128-bit integers in C++20.
uint64_t scaled(uint64_t noise, uint64_t total) {
  const uint64_t noise_low = noise & 0xFFFFFFFFU;
  const uint64_t noise_high = noise >> 32;
  const uint64_t total_low = total & 0xFFFFFFFFU;
  const uint64_t total_high = total >> 32;
  const uint64_t middle = noise_high * total_low + (noise_low * total_low >> 32);
  const uint64_t middle2 = noise_low * total_high + (middle & 0xFFFFFFFFU);
  return noise_high * total_high + (middle >> 32) + (middle2 >> 32);
}

}  // namespace

float weight_exponential(float x) {
  return exponential(x);
}

float edited_logit(float logit, const LogitEdit& edit, const SamplingParams& params) {
  logit += edit.bias;
  if (edit.in_output >= 0) {
    logit = logit > 0 ? logit / params.repetition_penalty : logit * params.repetition_penalty;
  }
  if (edit.in_output > 0) {
    logit -= params.frequency_penalty * static_cast<float>(edit.in_output);
    logit -= params.presence_penalty;
  }
  return logit;
}

Sampler::Sampler(int64_t vocab)
    : weights_(static_cast<size_t>(vocab)),
      block_max_(static_cast<size_t>(n_scan_blocks(weights_.size()))),
      block_max_copy_(block_max_.size()),
      block_sum_(block_max_.size()) {
  candidates_.reserve(weights_.size());
  kept_.reserve(weights_.size());
  edited_.reserve(weights_.size());
}

void Sampler::sample_row(std::span<const float> logits, const SampleRow& row, SampledToken& out) {
  PARKD_CHECK(logits.size() <= weights_.size(), "a row longer than the sampler's vocabulary");
  const SamplingParams& params = *row.params;
  out.token = -1;
  out.logprob = 0;
  out.top.clear();
  const bool edits = !row.edits.empty();
  const std::span<const float> raw = logits;
  if (edits) logits = edited(raw, row);
  if (!scan(logits)) return;
  if (params.temperature < kGreedyTemperature || params.top_k == 1) {
    out.token = first_of(logits, max_);
  } else {
    const uint64_t noise = sampling_noise(params.seed, static_cast<uint32_t>(row.choice_index),
                                          static_cast<uint32_t>(row.position));
    const bool filtered = params.top_k > 0 || params.top_p < 1.0F;
    out.token =
        filtered ? choose_filtered(logits, params, noise) : choose_from_all(logits, params, noise);
  }
  if (!params.logprobs && params.top_logprobs <= 0) return;
  if (edits) scan(raw);
  report(raw, params, out);
}

std::span<const float> Sampler::edited(std::span<const float> logits, const SampleRow& row) {
  PARKD_DCHECK(row.unseen_row < 0, "the host has seen every token of its own steps");
  edited_.assign(logits.begin(), logits.end());
  for (const LogitEdit& edit : row.edits) {
    PARKD_DCHECK(static_cast<size_t>(edit.token) < edited_.size(), "an edit of the vocabulary");
    float& logit = edited_[static_cast<size_t>(edit.token)];
    logit = edited_logit(logit, edit, *row.params);
  }
  return edited_;
}

// Finds the maxima; false when the row cannot be sampled.
bool Sampler::scan(std::span<const float> logits) {
  uint32_t bad = 0;
  max_ = kMinusInfinity;
  for (int64_t b = 0; b < n_scan_blocks(logits.size()); ++b) {
    const std::span<const float> block = scan_block(logits, b);
    float lane[16];  // sixteen maxima side by side, so that the compiler can use vectors
    std::fill_n(lane, 16, kMinusInfinity);
    const float* x = block.data();
    size_t i = 0;
    for (; i + 16 <= block.size(); i += 16) {
      for (size_t j = 0; j < 16; ++j) {
        lane[j] = x[i + j] > lane[j] ? x[i + j] : lane[j];
      }
    }
    for (; i < block.size(); ++i) lane[0] = std::max(lane[0], x[i]);
    for (i = 0; i < block.size(); ++i) {
      const auto bits = std::bit_cast<uint32_t>(x[i]);
      bad |= static_cast<uint32_t>((bits & 0x7FFFFFFFU) >= 0x7F800000U && bits != 0xFF800000U);
    }
    const float block_max = *std::max_element(lane, lane + 16);
    block_max_[static_cast<size_t>(b)] = block_max;
    max_ = std::max(max_, block_max);
  }
  return bad == 0 && max_ > kMinusInfinity;
}

TokenId Sampler::first_of(std::span<const float> logits, float value) const {
  for (int64_t b = 0; b < n_scan_blocks(logits.size()); ++b) {
    if (block_max_[static_cast<size_t>(b)] < value) continue;
    const std::span<const float> block = scan_block(logits, b);
    const auto found = std::find(block.begin(), block.end(), value);
    if (found != block.end()) {
      return static_cast<TokenId>(b * kScanBlock + (found - block.begin()));
    }
  }
  return -1;
}

// The k-th greatest block maximum is not above the k-th greatest logit, so only blocks and logits
// that reach it can be among the best k: no sort of the vocabulary.
void Sampler::find_best(std::span<const float> logits, int64_t k) {
  const int64_t n_blocks = n_scan_blocks(logits.size());
  float threshold = kMinusInfinity;
  if (k <= n_blocks) {
    const auto end = std::copy_n(block_max_.begin(), n_blocks, block_max_copy_.begin());
    const auto kth = block_max_copy_.begin() + (k - 1);
    std::nth_element(block_max_copy_.begin(), kth, end, std::greater<>());
    threshold = *kth;
  }
  candidates_.clear();
  for (int64_t b = 0; b < n_blocks; ++b) {
    if (block_max_[static_cast<size_t>(b)] < threshold) continue;
    const std::span<const float> block = scan_block(logits, b);
    for (size_t i = 0; i < block.size(); ++i) {
      if (block[i] >= threshold && block[i] > kMinusInfinity) {
        candidates_.push_back(
            {block[i], static_cast<TokenId>(b * kScanBlock + static_cast<int64_t>(i))});
      }
    }
  }
  const auto better = [](const Candidate& a, const Candidate& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
  };
  if (static_cast<int64_t>(candidates_.size()) > k) {
    std::nth_element(candidates_.begin(), candidates_.begin() + (k - 1), candidates_.end(), better);
    candidates_.resize(static_cast<size_t>(k));
  }
  std::sort(candidates_.begin(), candidates_.end(), better);
}

// Fills weights_ and block_sum_ (weights below `least` count nothing); returns their sum.
uint64_t Sampler::weigh_all(std::span<const float> logits, float inverse_temperature,
                            int32_t least) {
  uint64_t total = 0;
  for (int64_t b = 0; b < n_scan_blocks(logits.size()); ++b) {
    const std::span<const float> block = scan_block(logits, b);
    const float* x = block.data();
    const size_t n = block.size();
    int32_t* w = weights_.data() + b * kScanBlock;
    for (size_t i = 0; i < n; ++i) {
      const int32_t weight = weight_of(x[i], max_, inverse_temperature);
      w[i] = weight >= least ? weight : 0;
    }
    uint64_t sum = 0;
    for (size_t i = 0; i < n; ++i) sum += static_cast<uint64_t>(w[i]);
    block_sum_[static_cast<size_t>(b)] = sum;
    total += sum;
  }
  return total;
}

TokenId Sampler::choose_from_all(std::span<const float> logits, const SamplingParams& params,
                                 uint64_t noise) {
  const uint64_t total = weigh_all(logits, 1.0F / params.temperature, least_weight(params));
  uint64_t left = scaled(noise, total);
  size_t block = 0;
  while (left >= block_sum_[block]) left -= block_sum_[block++];
  size_t token = block * kScanBlock;
  while (left >= static_cast<uint64_t>(weights_[token])) {
    left -= static_cast<uint64_t>(weights_[token++]);
  }
  return static_cast<TokenId>(token);
}

// Into kept_: the top_k best of what min_p leaves, cut to top_p.
void Sampler::weigh_best(std::span<const float> logits, const SamplingParams& params) {
  find_best(logits, params.top_k);
  const float inverse_temperature = 1.0F / params.temperature;
  const int32_t least = least_weight(params);
  kept_.clear();
  uint64_t total = 0;
  for (const Candidate& candidate : candidates_) {
    const int32_t weight = weight_of(candidate.logit, max_, inverse_temperature);
    if (weight < least) break;  // as is every one behind it
    kept_.push_back({weight, candidate.token});
    total += static_cast<uint64_t>(weight);
  }
  if (params.top_p < 1.0F) keep_top_p(params.top_p, total);
}

// Into kept_: the heaviest of what min_p leaves that make up top_p. Sums by size of weight tell how
// light the last of them can be, so that only the heavier are sorted.
void Sampler::weigh_heaviest(std::span<const float> logits, const SamplingParams& params) {
  const uint64_t total = weigh_all(logits, 1.0F / params.temperature, least_weight(params));
  std::array<uint64_t, kWeightSizes> sums{};
  for (size_t i = 0; i < logits.size(); ++i) {
    sums[weight_size(weights_[i])] += static_cast<uint64_t>(weights_[i]);
  }
  uint32_t least = kWeightSizes;
  for (uint64_t sum = 0; least > 1 && static_cast<double>(sum) < wanted(params.top_p, total);) {
    sum += sums[--least];
  }
  kept_.clear();
  for (size_t i = 0; i < logits.size(); ++i) {
    if (weight_size(weights_[i]) >= least) {
      kept_.push_back({weights_[i], static_cast<TokenId>(i)});
    }
  }
  keep_top_p(params.top_p, total);
}

void Sampler::keep_top_p(float top_p, uint64_t total) {
  std::sort(kept_.begin(), kept_.end(), [](const Weighted& a, const Weighted& b) {
    return a.weight != b.weight ? a.weight > b.weight : a.token < b.token;
  });
  uint64_t sum = 0;
  size_t n = 0;
  while (n < kept_.size() && (n == 0 || static_cast<double>(sum) < wanted(top_p, total))) {
    sum += static_cast<uint64_t>(kept_[n++].weight);
  }
  kept_.resize(n);
}

TokenId Sampler::choose_filtered(std::span<const float> logits, const SamplingParams& params,
                                 uint64_t noise) {
  if (params.top_k > 0) {
    weigh_best(logits, params);
  } else {
    weigh_heaviest(logits, params);
  }
  std::sort(kept_.begin(), kept_.end(),
            [](const Weighted& a, const Weighted& b) { return a.token < b.token; });
  uint64_t total = 0;
  for (const Weighted& kept : kept_) total += static_cast<uint64_t>(kept.weight);
  uint64_t left = scaled(noise, total);
  size_t n = 0;
  while (left >= static_cast<uint64_t>(kept_[n].weight)) {
    left -= static_cast<uint64_t>(kept_[n++].weight);
  }
  return kept_[n].token;
}

void Sampler::report(std::span<const float> logits, const SamplingParams& params,
                     SampledToken& out) {
  double sum = 0;
  for (int64_t b = 0; b < n_scan_blocks(logits.size()); ++b) {
    const std::span<const float> block = scan_block(logits, b);
    float e[kScanBlock];
    for (size_t n = 0; n < block.size(); ++n) e[n] = exponential(block[n] - max_);
    float lane[16] = {};
    size_t i = 0;
    for (; i + 16 <= block.size(); i += 16) {
      for (size_t j = 0; j < 16; ++j) lane[j] += e[i + j];
    }
    for (; i < block.size(); ++i) lane[0] += e[i];
    sum += static_cast<double>(std::accumulate(lane, lane + 16, 0.0F));
  }
  const double log_sum = std::log(sum) + static_cast<double>(max_);
  const auto logprob = [&](float logit) {
    return static_cast<float>(static_cast<double>(logit) - log_sum);
  };
  out.logprob = logprob(logits[static_cast<size_t>(out.token)]);
  if (params.top_logprobs <= 0) return;
  find_best(logits, params.top_logprobs);
  out.top.reserve(candidates_.size());
  for (const Candidate& candidate : candidates_) {
    out.top.push_back({candidate.token, logprob(candidate.logit)});
  }
}

}  // namespace parkd
