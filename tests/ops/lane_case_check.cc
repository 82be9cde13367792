// LaneCase::check: the case's reference in float64, with what the implementation rounds.
#include <algorithm>
#include <cmath>
#include <span>

#include "tests/ops/lane_case.h"
#include "tests/ops/reference.h"
#include "tests/support/random_data.h"

namespace parkd::testing {
namespace {

constexpr double kLargestValue = 8;  // of V: none of some million normal numbers is beyond

bool is_float(TensorType type) {
  return type == TensorType::f32 || type == TensorType::f16 || type == TensorType::bf16;
}

double round_to(Dtype dtype, double x) {
  const auto value = static_cast<float>(x);
  switch (dtype) {
    case Dtype::f32:
      return static_cast<double>(value);
    case Dtype::f16:
      return static_cast<double>(f16_to_float(float_to_f16(value)));
    case Dtype::bf16:
      return static_cast<double>(bf16_to_float(float_to_bf16(value)));
  }
  return std::nan("");
}

// Half an ulp, relative.
double rounding(Dtype dtype) {
  return dtype == Dtype::f32 ? 0x1p-24 : dtype == Dtype::f16 ? 0x1p-11 : 0x1p-8;
}

}  // namespace

double LaneCase::stored(double x) const {
  return round_to(implementation_.dtype, x);
}

double LaneCase::out_rounding() const {
  return implementation_.kind == Implementation::Kind::cuda ? rounding(implementation_.dtype)
                                                            : 0x1p-24;
}

// Below f16's normal range a rounding is absolute.
double LaneCase::out_absolute() const {
  const bool is_f16 =
      implementation_.kind == Implementation::Kind::cuda && implementation_.dtype == Dtype::f16;
  return is_f16 ? 0x1p-25 : 1e-30;
}

bool LaneCase::rounds_factors(const SequenceCase& sequence) const {
  if (implementation_.dtype == Dtype::f32) return false;
  if (implementation_.kind == Implementation::Kind::cuda) {
    // The kernel on tensor cores is for prompts without a window and heads of 128 at most; all
    // others keep floats.
    return implementation_.tensor_cores && sequence.rows > 1 && case_.window == 0 &&
           case_.heads.head_dim <= 128;
  }
  return implementation_.dtype == Dtype::bf16;
}

// Head `index` of q, k and v as the layer makes it, before KV's rounding.
std::vector<double> LaneCase::head(int64_t token, int32_t index) const {
  const auto head_dim = static_cast<size_t>(case_.heads.head_dim);
  const std::span<const float> row(ins_[static_cast<size_t>(token)]);
  const std::span<const float> in = row.subspan(static_cast<size_t>(index) * head_dim, head_dim);
  const Heads& h = case_.heads;
  const bool is_query = index < h.n_heads;
  std::vector<double> result(in.begin(), in.end());
  if (case_.biases) {
    const int32_t kv_head = index - h.n_heads;
    const float* bias = is_query ? q_bias_.data() + index * h.head_dim
                        : kv_head < h.n_kv_heads
                            ? k_bias_.data() + kv_head * h.head_dim
                            : v_bias_.data() + (kv_head - h.n_kv_heads) * h.head_dim;
    for (size_t d = 0; d < head_dim; ++d) result[d] += double{bias[d]};
  }
  if (index >= h.n_heads + h.n_kv_heads) return result;
  const auto s = std::upper_bound(first_token_.begin(), first_token_.end(), token) - 1;
  const int64_t position = token - *s;
  if (case_.norms) {
    const std::vector<float>& weights = is_query ? q_norm_ : k_norm_;
    result = reference::rms_norm(std::span<const double>(result), std::span<const float>(weights),
                                 double{shape_.rms_eps});
  }
  if (case_.rotates) {
    const Rope& rope = shape_.ropes[case_.layout == RopeLayout::interleaved ? 0 : 1];
    const std::vector<double> cos_sin = reference::rotation(position, rope);
    result = reference::rotated(std::span<const double>(result), std::span<const double>(cos_sin),
                                case_.layout);
  }
  if (is_query) {
    for (double& x : result) x *= reference::query_factor(case_.query_scale, position);
  }
  return result;
}

LaneCase::HeadMemory LaneCase::memory_of(size_t sequence, int32_t kv_head) const {
  const SequenceCase& s = case_.sequences[sequence];
  HeadMemory memory;
  for (int32_t t = 0; t < s.context + s.rows; ++t) {
    const int64_t token = first_token_[sequence] + t;
    memory.keys.push_back(head(token, case_.heads.n_heads + kv_head));
    memory.values.push_back(head(token, case_.heads.n_heads + case_.heads.n_kv_heads + kv_head));
    for (double& x : memory.keys.back()) x = stored(x);
    for (double& x : memory.values.back()) x = stored(x);
  }
  return memory;
}

void LaneCase::check_query(int64_t token, int32_t index, const HeadMemory& memory, const float* got,
                           const std::string& where, Errors& errors) const {
  const auto s = std::upper_bound(first_token_.begin(), first_token_.end(), token) - 1;
  const auto position = static_cast<int32_t>(token - *s);
  // Sums of head_dim products in float put scores (some 20) off by some 1e-6, and a probability by
  // as much of itself. Scores of 400 are known to 400 * 2^-24 * 64 terms. Where q and the
  // probabilities are rounded too, a weighted mean's error is its weights' rounding; and where K
  // was rotated, its own rounding may have gone the other way.
  const bool rounds =
      rounds_factors(case_.sequences[static_cast<size_t>(s - first_token_.begin())]);
  double absolute = 4e-6 * kLargestValue;
  if (rounds || (case_.rotates && implementation_.dtype != Dtype::f32)) {
    absolute = 2 * kLargestValue * rounding(implementation_.dtype);
  }
  if (case_.values == Values::far) absolute = std::max(absolute, 1e-2);
  std::vector<double> query = head(token, index);
  double factor = double{scale()};
  if (rounds && implementation_.kind == Implementation::Kind::cpu) {
    for (double& x : query) x = stored(static_cast<double>(static_cast<float>(x) * scale()));
    factor = 1;
  } else if (rounds) {
    for (double& x : query) x = stored(x);
  }
  const std::vector<double> wanted = reference::attention(
      std::span<const double>(query), reference::first_seen(case_.window, position), position + 1,
      factor, [&](int32_t t) { return memory.keys[static_cast<size_t>(t)].data(); },
      [&](int32_t t) { return memory.values[static_cast<size_t>(t)].data(); });
  for (size_t d = 0; d < wanted.size(); ++d) {
    errors.check(got[d], wanted[d], std::fabs(wanted[d]) * out_rounding() + absolute, where);
  }
}

void LaneCase::check_attention(const OpRows& rows, Errors& errors) const {
  const Heads& h = case_.heads;
  size_t first_row = 0;
  for (size_t s = 0; s < case_.sequences.size(); ++s) {
    const SequenceCase& sequence = case_.sequences[s];
    for (int32_t kv_head = 0; kv_head < h.n_kv_heads; ++kv_head) {
      const HeadMemory memory = memory_of(s, kv_head);
      for (int32_t i = 0; i < sequence.rows; ++i) {
        const float* row = rows[first_row + static_cast<size_t>(i)].data();
        for (int32_t index = kv_head * h.group(); index < (kv_head + 1) * h.group(); ++index) {
          check_query(first_token_[s] + sequence.context + i, index, memory,
                      row + index * h.head_dim,
                      case_.name + ", sequence " + std::to_string(s) + " row " + std::to_string(i) +
                          " head " + std::to_string(index),
                      errors);
        }
      }
    }
    first_row += static_cast<size_t>(sequence.rows);
  }
}

// A row as the op's weights meet it.
std::vector<double> LaneCase::seen_by_product(const std::vector<float>& row) const {
  std::vector<double> seen(row.begin(), row.end());
  if (implementation_.dtype == Dtype::f32) return seen;
  if (implementation_.kind == Implementation::Kind::cuda || is_float(case_.weight)) {
    // The CPU's floats of 16 bits are all bf16.
    const Dtype dtype =
        implementation_.kind == Implementation::Kind::cuda ? implementation_.dtype : Dtype::bf16;
    for (double& x : seen) x = round_to(dtype, x);
    return seen;
  }
  const cpu::CpuKernels& kernels = cpu::kernels_of(cpu::Isa::scalar);
  std::vector<int8_t> codes(row.size());
  std::vector<cpu::ActivationBlock> blocks(row.size() / 32);
  kernels.quantise_row(row.data(), static_cast<int64_t>(row.size()), codes.data(), blocks.data());
  for (size_t i = 0; i < row.size(); ++i) {
    seen[i] = static_cast<double>(blocks[i / 32].scale) * codes[i];
  }
  return seen;
}

void LaneCase::check_row(int64_t row, int64_t token, const std::vector<float>& got,
                         Errors& errors) const {
  const bool on_device = implementation_.kind == Implementation::Kind::cuda;
  const std::vector<float>& in = ins_[static_cast<size_t>(token)];
  const std::string where = case_.name + ", row " + std::to_string(row);
  // A weight as the product or the table has it.
  const auto weight_at = [&](int64_t i) {
    const double x = reference::weight(case_.weight, weight_.bytes, i);
    if (on_device) return round_to(implementation_.dtype, x);
    return round_to(
        is_float(case_.weight) && implementation_.dtype != Dtype::f32 ? Dtype::bf16 : Dtype::f32,
        x);
  };
  switch (case_.op) {
    case Op::embed:
      for (size_t i = 0; i < got.size(); ++i) {
        const double wanted =
            weight_at(int64_t{embedded_[static_cast<size_t>(token)]} * case_.columns +
                      static_cast<int64_t>(i));
        // Exact; but a device makes q4_1's sum in float before it rounds.
        const bool rounds_twice = on_device && case_.weight == TensorType::q4_1;
        const double scaled = wanted * double{case_.scale};
        const double allowed =
            case_.scale != 1 ? std::fabs(scaled) * 0x1p-23
            : rounds_twice   ? 2 * std::fabs(wanted) * out_rounding() + 2 * out_absolute() + 1e-7
                             : 0;
        errors.check(got[i], scaled, allowed, where);
      }
      return;
    case Op::rms_norm:
    case Op::rms_norm_add: {
      const std::vector<double> wanted = reference::rms_norm(
          std::span<const float>(in), std::span<const float>(norm_), double{shape_.rms_eps});
      for (size_t i = 0; i < got.size(); ++i) {
        // CPU: sums of 40 terms a lane, a root, a division, two products. CUDA: up to 32 squares a
        // thread and three trees.
        const double allowed = std::fabs(wanted[i]) * (on_device ? 2e-6 : 3e-6);
        if (adds()) {  // to floats, on a device too
          const double sum = double{sums_before_[static_cast<size_t>(token)][i]} + wanted[i];
          errors.check(got[i], sum, allowed + std::fabs(sum) * 0x1p-24 + 1e-30, where);
        } else {
          errors.check(got[i], wanted[i],
                       allowed + std::fabs(wanted[i]) * out_rounding() + out_absolute(), where);
        }
      }
      return;
    }
    case Op::gate_mul:
      for (size_t i = 0; i < got.size(); ++i) {
        const double gate = double{in[i]};
        const double wanted = reference::gate_mul(
            case_.activation, gate, double{in[i + static_cast<size_t>(case_.columns)]});
        // e^x within 2 ulp, one sum, one division, one product; gelu_tanh's exponent is a rounded
        // one of up to 88, beyond which nothing is left. The CPU clamps e^x at e^88, so that below
        // -88 the gate is -|g| e^-88 at most: 1e-8 even for 1e30.
        double relative = 6e-7;
        if (case_.activation == Activation::gelu_tanh) {
          relative += 0x1p-21 * std::min(88.0, std::fabs(1.6 * gate * (1 + 0.05 * gate * gate)));
        }
        errors.check(got[i], wanted,
                     std::fabs(wanted) * (relative + out_rounding()) +
                         (on_device ? std::max(out_absolute(), 1e-35) : 1e-7),
                     where);
      }
      return;
    case Op::matmul:
    case Op::matmul_add: {
      const std::vector<double> seen = seen_by_product(in);
      for (size_t o = 0; o < got.size(); ++o) {
        double sum = 0;
        double magnitude = 0;
        for (size_t k = 0; k < seen.size(); ++k) {
          const double term = seen[k] * weight_at(static_cast<int64_t>(o * seen.size() + k));
          sum += term;
          magnitude += std::fabs(term);
        }
        // Floats round at most once a term (twice for the bf16 instruction's pair sums), each time
        // by at most 2^-24 of what has been summed; q4_1 sums its minima apart, so its partial sums
        // can be some eight times the terms.
        if (case_.op == Op::matmul_add) {
          const double before = double{sums_before_[static_cast<size_t>(token)][o]};
          sum += before;
          magnitude += std::fabs(before);
        }
        errors.check(got[o], sum,
                     (magnitude * 8 + 1e-30) * 0x1p-24 * static_cast<double>(seen.size() + 8),
                     where);
      }
      return;
    }
    case Op::rope_and_store:
      for (int32_t i = 0; i < case_.heads.n_heads; ++i) {
        const std::vector<double> wanted = head(token, i);
        for (size_t d = 0; d < wanted.size(); ++d) {
          // Two products and a sum of values up to about 5; a norm's root, division and products
          // before.
          errors.check(got[static_cast<size_t>(i) * wanted.size() + d], wanted[d],
                       case_.norms || case_.biases || case_.query_scale.beta != 0 ? 5e-6 : 1.5e-6,
                       where + " head " + std::to_string(i));
        }
      }
      return;
    case Op::attention:
      return;  // check_attention()
    case Op::gather_logit_rows:
      for (size_t i = 0; i < got.size(); ++i) errors.check(got[i], double{in[i]}, 0, where);
      return;
  }
}

void LaneCase::check(const OpRows& rows, Errors& errors) const {
  if (case_.op == Op::attention) {
    ASSERT_EQ(rows.size(), static_cast<size_t>(case_.n_rows()));
    return check_attention(rows, errors);
  }
  size_t row = 0;
  for (size_t s = 0; s < case_.sequences.size(); ++s) {
    const SequenceCase& sequence = case_.sequences[s];
    const int32_t first = case_.op == Op::gather_logit_rows ? sequence.rows - 1 : 0;
    for (int32_t i = first; i < sequence.rows; ++i) {
      const int64_t token = first_token_[s] + sequence.context + i;
      ASSERT_LT(row, rows.size());
      check_row(static_cast<int64_t>(row), token, rows[row], errors);
      ++row;
    }
  }
  EXPECT_EQ(row, rows.size());
}

}  // namespace parkd::testing
