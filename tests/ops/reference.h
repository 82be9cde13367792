// What the ops of op_cases.h are held to: their formulas in float64, each once.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "kernels/common/half.h"
#include "lib/model/shape.h"
#include "lib/weights/dequantise.h"
#include "lib/weights/formats.h"
#include "lib/weights/tensor.h"

namespace parkd::testing::reference {

inline double half_at(const uint8_t* at) {
  uint16_t half;
  std::memcpy(&half, at, 2);
  return static_cast<double>(f16_to_float(half));
}

// Element i of a tensor's bytes, by the format's definition.
inline double weight(TensorType type, std::span<const uint8_t> bytes, int64_t i) {
  const int64_t block = i / 32;
  const int64_t j = i % 32;
  const auto nibble = [&](const uint8_t* codes) {
    return static_cast<double>(j < 16 ? codes[j] & 15 : codes[j - 16] >> 4);
  };
  switch (type) {
    case TensorType::q4_0: {
      const uint8_t* at = bytes.data() + block * 18;
      return half_at(at) * (nibble(at + 2) - 8);
    }
    case TensorType::q4_1: {
      const uint8_t* at = bytes.data() + block * 20;
      return half_at(at) * nibble(at + 4) + half_at(at + 2);
    }
    case TensorType::q8_0: {
      const uint8_t* at = bytes.data() + block * 34;
      return half_at(at) * static_cast<int8_t>(at[2 + j]);
    }
    case TensorType::f16:
      return half_at(bytes.data() + i * 2);
    case TensorType::bf16: {
      uint16_t half;
      std::memcpy(&half, bytes.data() + i * 2, 2);
      return static_cast<double>(bf16_to_float(half));
    }
    case TensorType::f32: {
      float value;
      std::memcpy(&value, bytes.data() + i * 4, 4);
      return static_cast<double>(value);
    }
    default: {  // tests/golden/format_golden_test holds these to ggml's own numbers
      const TensorFormat& format = *find_format(type);
      float values[256];
      dequantise(type, bytes.data() + i / format.block_elements * format.block_bytes,
                 format.block_elements, values);
      return static_cast<double>(values[i % format.block_elements]);
    }
  }
}

// in / sqrt(mean(in^2) + eps) * weight
template <class T>
std::vector<double> rms_norm(std::span<const T> in, std::span<const float> weights, double eps) {
  double squares = 0;
  for (const T x : in) squares += static_cast<double>(x) * static_cast<double>(x);
  const double factor = 1 / std::sqrt(squares / static_cast<double>(in.size()) + eps);
  std::vector<double> out(in.begin(), in.end());
  for (size_t i = 0; i < out.size(); ++i) out[i] *= factor * static_cast<double>(weights[i]);
  return out;
}

inline double gate_mul(Activation activation, double gate, double up) {
  switch (activation) {
    case Activation::silu:
      return gate / (1 + std::exp(-gate)) * up;
    case Activation::gelu_tanh: {
      const double u = std::sqrt(2 / std::acos(-1.0)) * (gate + 0.044715 * gate * gate * gate);
      // 1 + tanh(u), without its cancellation where u is far below 0.
      return gate / 2 * (u < 0 ? 2 / (1 + std::exp(-2 * u)) : 1 + std::tanh(u)) * up;
    }
  }
  return std::nan("");
}

// What q is multiplied by.
inline double query_factor(const QueryScale& scale, int64_t position) {
  return 1 + static_cast<double>(scale.beta) *
                 std::log(1 + std::floor(static_cast<double>(position) / scale.period));
}

// The first token that one at `position` sees.
inline int32_t first_seen(int32_t window, int32_t position) {
  return window > 0 ? std::max(0, position + 1 - window) : 0;
}

// (cos, sin) of each pair of a head at `position`, times the amplitude; (1, 0): it is not turned.
inline std::vector<double> rotation(int64_t position, const Rope& rope) {
  std::vector<double> cos_sin;
  for (const float frequency : rope.inv_freq) {
    const double angle = static_cast<double>(position) * static_cast<double>(frequency);
    const double amplitude = frequency == 0 ? 1 : double{rope.amplitude};
    cos_sin.push_back(amplitude * std::cos(angle));
    cos_sin.push_back(amplitude * std::sin(angle));
  }
  return cos_sin;
}

template <class T>
std::vector<double> rotated(std::span<const double> head, std::span<const T> cos_sin,
                            RopeLayout layout) {
  const size_t half = head.size() / 2;
  std::vector<double> out(head.size());
  for (size_t i = 0; i < half; ++i) {
    const size_t a = layout == RopeLayout::interleaved ? 2 * i : i;
    const size_t b = layout == RopeLayout::interleaved ? 2 * i + 1 : i + half;
    const auto c = static_cast<double>(cos_sin[2 * i]);
    const auto s = static_cast<double>(cos_sin[2 * i + 1]);
    out[a] = head[a] * c - head[b] * s;
    out[b] = head[a] * s + head[b] * c;
  }
  return out;
}

// softmax(query . key(t) * scale) over tokens [first, last), times value(t); the two give pointers
// to head_dim numbers.
template <class T, class Key, class Value>
std::vector<double> attention(std::span<const T> query, int32_t first, int32_t last, double scale,
                              const Key& key, const Value& value) {
  std::vector<double> score(static_cast<size_t>(last - first));
  for (int32_t t = first; t < last; ++t) {
    const auto* k = key(t);
    double dot = 0;
    for (size_t d = 0; d < query.size(); ++d) {
      dot += static_cast<double>(query[d]) * static_cast<double>(k[d]);
    }
    score[static_cast<size_t>(t - first)] = dot * scale;
  }
  const double top = *std::max_element(score.begin(), score.end());
  double sum = 0;
  std::vector<double> out(query.size());
  for (int32_t t = first; t < last; ++t) {
    const double p = std::exp(score[static_cast<size_t>(t - first)] - top);
    const auto* v = value(t);
    sum += p;
    for (size_t d = 0; d < out.size(); ++d) out[d] += p * static_cast<double>(v[d]);
  }
  for (double& x : out) x /= sum;
  return out;
}

}  // namespace parkd::testing::reference
