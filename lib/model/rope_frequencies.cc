#include "lib/model/rope_frequencies.h"

#include <algorithm>
#include <cmath>

namespace parkd {
namespace {

const double kTwoPi = 2 * std::acos(-1.0);

double plain(int32_t i, int32_t head_dim, double base) {
  return std::pow(base, -2.0 * i / head_dim);
}

template <class Scale>
std::vector<float> frequencies(int32_t head_dim, double base, const Scale& scale) {
  std::vector<float> result;
  for (int32_t i = 0; i < head_dim / 2; ++i) {
    result.push_back(static_cast<float>(scale(i, plain(i, head_dim, base))));
  }
  return result;
}

}  // namespace

std::vector<float> plain_rope(int32_t head_dim, double base) {
  return frequencies(head_dim, base, [](int32_t, double frequency) { return frequency; });
}

std::vector<float> linear_rope(int32_t head_dim, double base, double factor) {
  return frequencies(head_dim, base, [&](int32_t, double frequency) { return frequency / factor; });
}

std::vector<float> divided_rope(int32_t head_dim, double base, std::span<const float> divisors) {
  return frequencies(head_dim, base, [&](int32_t i, double frequency) {
    return frequency / double{divisors[static_cast<size_t>(i)]};
  });
}

std::vector<float> llama3_divisors(int32_t head_dim, double base, const Llama3Rope& s) {
  return frequencies(head_dim, base, [&](int32_t, double frequency) {
    const double waves = s.original_context * frequency / kTwoPi;  // in the first context
    if (waves > s.high_freq_factor) return 1.0;
    if (waves < s.low_freq_factor) return s.factor;
    const double smooth = (waves - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor);
    return 1 / ((1 - smooth) / s.factor + smooth);
  });
}

std::vector<float> llama3_rope(int32_t head_dim, double base, const Llama3Rope& scaling) {
  return divided_rope(head_dim, base, llama3_divisors(head_dim, base, scaling));
}

std::vector<float> yarn_rope(int32_t head_dim, double base, const YarnRope& s) {
  // The pair that turns `n` times in the first context.
  const auto pair_of = [&](double n) {
    return head_dim * std::log(s.original_context / (kTwoPi * n)) / (2 * std::log(base));
  };
  double low = pair_of(s.beta_fast);
  double high = pair_of(s.beta_slow);
  if (s.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, head_dim - 1.0);
  if (high == low) high += 0.001;
  return frequencies(head_dim, base, [&](int32_t i, double frequency) {
    const double ramp = std::clamp((i - low) / (high - low), 0.0, 1.0);
    return frequency / s.factor * ramp + frequency * (1 - ramp);
  });
}

double yarn_attention_factor(const YarnRope& s) {
  if (s.attention_factor) return *s.attention_factor;
  const auto scale = [&](double mscale) {
    return s.factor <= 1 ? 1.0 : 0.1 * mscale * std::log(s.factor) + 1;
  };
  if (s.mscale.value_or(0) != 0 && s.mscale_all_dim.value_or(0) != 0) {
    return scale(*s.mscale) / scale(*s.mscale_all_dim);
  }
  return scale(1);
}

double long_rope_attention_factor(double factor, int32_t original_context) {
  if (factor <= 1) return 1;
  return std::sqrt(1 + std::log(factor) / std::log(original_context));
}

}  // namespace parkd
