#include "lib/backend/cpu/cpu_lane.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "kernels/cpu/pack.h"
#include "lib/base/check.h"

namespace parkd {
namespace {

// Pieces of work that a team member takes at once: large enough to hide the counter they come from.
constexpr int64_t kRowGrain = 4;
constexpr int64_t kPanelGrain = 4;

int64_t round_up(int64_t n, int64_t multiple) {
  return cpu::ceil_div(n, multiple) * multiple;
}

MappedMemory must_map(int64_t bytes) {
  auto memory = MappedMemory::make(static_cast<size_t>(bytes));
  PARKD_CHECK(memory.ok(), memory.status().to_string());
  return std::move(memory).value();
}

}  // namespace

CpuLane::CpuLane(const CpuWeights& weights, const ModelShape& shape, const cpu::CpuKernels& kernels,
                 int team_size)
    : weights_(weights),
      shape_(shape),
      kernels_(kernels),
      team_(team_size),
      cos_sin_(shape.ropes.size()) {
  const size_t workspace =
      cpu::attention_workspace_bytes(shape.n_heads / shape.n_kv_heads, shape.head_dim);
  for (int member = 0; member < team_.size(); ++member) {
    workspaces_.push_back(must_map(static_cast<int64_t>(workspace)));
    samplers_.emplace_back(shape.vocab);
  }
}

int64_t CpuLane::buffer_bytes(int64_t rows_max, int64_t columns) {
  const int64_t n = rows_max * cpu::row_stride(columns);
  return n * (4 + 2 + 1) + n / cpu::kBlock * static_cast<int64_t>(sizeof(cpu::ActivationBlock));
}

Buffer CpuLane::make_buffer(int64_t rows_max, int64_t columns) {
  Rows rows;
  rows.rows_max = rows_max;
  rows.columns = columns;
  rows.stride = cpu::row_stride(columns);
  const int64_t n = rows_max * rows.stride;
  rows.memory = must_map(buffer_bytes(rows_max, columns));
  uint8_t* at = rows.memory.data();
  rows.f32 = reinterpret_cast<float*>(at);
  rows.bf16 = reinterpret_cast<uint16_t*>(at + n * 4);
  rows.q8 = reinterpret_cast<int8_t*>(at + n * 6);
  rows.blocks = reinterpret_cast<cpu::ActivationBlock*>(at + n * 7);
  buffers_.push_back(std::move(rows));
  if (rows_max > rows_max_) {
    rows_max_ = rows_max;
    for (auto& table : cos_sin_) table.resize(static_cast<size_t>(rows_max * shape_.head_dim));
    sequence_of_row_.resize(static_cast<size_t>(rows_max));
    units_.reserve(static_cast<size_t>(rows_max * shape_.n_kv_heads));
  }
  return Buffer{static_cast<int32_t>(buffers_.size()) - 1};
}

CpuLane::Rows& CpuLane::write(Buffer buffer, int64_t rows) {
  Rows& result = rows_of(buffer);
  PARKD_DCHECK(rows <= result.rows_max, "more rows than the buffer was made for");
  result.rows = rows;
  result.q8_made = false;
  result.bf16_made = false;
  return result;
}

void CpuLane::begin_step(const StepBatch& batch) {
  batch_ = batch;
  n_rows_ = static_cast<int64_t>(batch.tokens.size());
  PARKD_CHECK(n_rows_ <= rows_max_, "a step of more rows than the buffers were made for");
  for (size_t s = 0; s < batch.sequences.size(); ++s) {
    const StepSequence& sequence = batch.sequences[s];
    const auto first = sequence_of_row_.begin() + sequence.first_row;
    std::fill(first, first + sequence.n_rows, static_cast<int32_t>(s));
  }
  for (size_t r = 0; r < cos_sin_.size(); ++r) fill_rope_table(shape_.ropes[r], cos_sin_[r]);
  plan_attention();
}

// The rotations of this step's positions, in double: at position 10^5 a float angle has lost 7
// bits.
void CpuLane::fill_rope_table(const Rope& rope, std::vector<float>& cos_sin) {
  const int64_t half = shape_.head_dim / 2;
  team_.divide(n_rows_, 16, [&](int64_t first, int64_t last, int) {
    for (int64_t row = first; row < last; ++row) {
      const StepSequence& sequence =
          batch_.sequences[static_cast<size_t>(sequence_of_row_[static_cast<size_t>(row)])];
      const int64_t position = sequence.context_tokens + row - sequence.first_row;
      float* out = cos_sin.data() + row * shape_.head_dim;
      for (int64_t i = 0; i < half; ++i) {
        const double frequency = static_cast<double>(rope.inv_freq[static_cast<size_t>(i)]);
        const double angle = static_cast<double>(position) * frequency;
        const double amplitude = frequency == 0 ? 1 : static_cast<double>(rope.amplitude);
        out[2 * i] = static_cast<float>(amplitude * std::cos(angle));
        out[2 * i + 1] = static_cast<float>(amplitude * std::sin(angle));
      }
    }
  });
}

void CpuLane::plan_attention() {
  const int32_t group = shape_.n_heads / shape_.n_kv_heads;
  const int32_t queries_max = std::max(1, cpu::kAttentionRowsMax / group);
  units_.clear();
  for (size_t s = 0; s < batch_.sequences.size(); ++s) {
    const int32_t n = batch_.sequences[s].n_rows;
    for (int32_t first = 0; first < n; first += queries_max) {
      for (int32_t head = 0; head < shape_.n_kv_heads; ++head) {
        units_.push_back({static_cast<int32_t>(s), head, first, std::min(queries_max, n - first)});
      }
    }
  }
}

void CpuLane::embed(MatrixId table, float scale, Buffer out) {
  const CpuMatrix& matrix = weights_.matrix(table);
  Rows& to = write(out, n_rows_);
  team_.divide(n_rows_, kRowGrain, [&](int64_t first, int64_t last, int) {
    for (int64_t row = first; row < last; ++row) {
      const int64_t token = batch_.tokens[static_cast<size_t>(row)];
      PARKD_DCHECK(token >= 0 && token < matrix.n_columns, "a token outside the vocabulary");
      const auto after =
          std::upper_bound(matrix.parts.begin(), matrix.parts.end(), token,
                           [](int64_t t, const auto& part) { return t < part.first_column; });
      const CpuMatrix::Part& part = *(after - 1);
      cpu::unpack_row(part.packed, token - part.first_column, to.row(row));
      for (int64_t i = 0; scale != 1 && i < matrix.k; ++i) to.row(row)[i] *= scale;
    }
  });
}

void CpuLane::rms_norm(Buffer in, VectorId weight, Buffer out) {
  const Rows& from = rows_of(in);
  Rows& to = write(out, from.rows);
  const std::span<const float> scale = weights_.vector(weight);
  team_.divide(from.rows, kRowGrain, [&](int64_t first, int64_t last, int) {
    for (int64_t row = first; row < last; ++row) {
      kernels_.rms_norm(from.row(row), scale.data(), from.columns, shape_.rms_eps, to.row(row));
    }
  });
}

void CpuLane::rms_norm_add(Buffer in, VectorId weight, Buffer sum) {
  const Rows& from = rows_of(in);
  PARKD_DCHECK(rows_of(sum).rows == from.rows, "a sum of unequal heights");
  Rows& to = write(sum, from.rows);
  const std::span<const float> scale = weights_.vector(weight);
  team_.divide(from.rows, kRowGrain, [&](int64_t first, int64_t last, int) {
    for (int64_t row = first; row < last; ++row) {
      kernels_.rms_norm_add(from.row(row), scale.data(), from.columns, shape_.rms_eps, to.row(row));
    }
  });
}

// Makes the forms of `in` that `matrix` reads, unless an earlier product has.
void CpuLane::prepare(const CpuMatrix& matrix, Rows& in) {
  const bool q8 = matrix.reads_q8 && !in.q8_made;
  const bool bf16 = matrix.reads_bf16 && !in.bf16_made;
  if (!q8 && !bf16) return;
  team_.divide(in.rows, kRowGrain, [&](int64_t first, int64_t last, int) {
    for (int64_t row = first; row < last; ++row) {
      if (q8) {
        kernels_.quantise_row(in.row(row), in.columns, in.q8 + row * in.stride,
                              in.blocks + row * (in.stride / cpu::kBlock));
      }
      // An odd row's last pair ends in the stride's zero.
      if (bf16) kernels_.to_bf16(in.row(row), in.columns, in.bf16 + row * in.stride);
    }
  });
  in.q8_made |= q8;
  in.bf16_made |= bf16;
}

void CpuLane::multiply(MatrixId weight, Buffer in, Buffer out, bool add) {
  const CpuMatrix& matrix = weights_.matrix(weight);
  Rows& from = rows_of(in);
  PARKD_DCHECK(from.columns == matrix.k, "a product of unequal lengths");
  prepare(matrix, from);
  Rows& to = write(out, from.rows);
  PARKD_DCHECK(to.columns == matrix.n_columns, "a product into a buffer of another width");
  cpu::ActivationRows activations;
  activations.f32 = from.f32;
  activations.bf16 = from.bf16;
  activations.q8 = from.q8;
  activations.f32_stride = activations.bf16_stride = activations.q8_stride = from.stride;
  activations.blocks = from.blocks;
  activations.blocks_stride = from.stride / cpu::kBlock;
  team_.divide(matrix.n_panels, kPanelGrain, [&](int64_t first, int64_t last, int) {
    for (const CpuMatrix::Part& part : matrix.parts) {
      const int64_t n_panels = cpu::panel_count(part.packed.n_outputs);
      cpu::MatmulArgs args;
      args.first_panel = std::clamp<int64_t>(first - part.first_panel, 0, n_panels);
      args.last_panel = std::clamp<int64_t>(last - part.first_panel, 0, n_panels);
      if (args.first_panel == args.last_panel) continue;
      args.weight = part.packed;
      args.in = activations;
      args.n_rows = from.rows;
      args.out = to.f32 + part.first_column;
      args.out_stride = to.stride;
      args.add = add;
      kernels_.matmul(args);
    }
  });
}

void CpuLane::matmul(MatrixId weight, Buffer in, Buffer out) {
  multiply(weight, in, out, false);
}

void CpuLane::matmul_add(MatrixId weight, Buffer in, Buffer sum) {
  PARKD_DCHECK(rows_of(sum).rows == rows_of(in).rows, "a sum of unequal heights");
  multiply(weight, in, sum, true);
}

// V of the KV tiles whose first token is in this step.
void CpuLane::clear_new_tiles(int32_t layer) {
  for (const StepSequence& sequence : batch_.sequences) {
    const int64_t first = round_up(sequence.context_tokens, cpu::kKvTile);
    const int64_t last = int64_t{sequence.context_tokens} + sequence.n_rows;
    for (int64_t position = first; position < last; position += cpu::kKvTile) {
      for (int32_t head = 0; head < shape_.n_kv_heads; ++head) {
        cpu::KvView kv = weights_.kv_view(layer, head);
        kv.block_table = sequence.block_table.data();
        kernels_.clear_values(kv, position);
      }
    }
  }
}

// RMS-norms each head in place, where there is a weight for it.
void CpuLane::norm_heads(VectorId weight, int32_t n_heads, float* heads) const {
  if (weight.index < 0) return;
  const float* scale = weights_.vector(weight).data();
  for (int32_t head = 0; head < n_heads; ++head, heads += shape_.head_dim) {
    kernels_.rms_norm(heads, scale, shape_.head_dim, shape_.rms_eps, heads);
  }
}

void CpuLane::add_biases(const RopeOptions& options, float* qkv) const {
  if (options.q_bias.index < 0) return;
  for (const VectorId id : {options.q_bias, options.k_bias, options.v_bias}) {
    for (const float x : weights_.vector(id)) *qkv++ += x;
  }
}

void CpuLane::scale_query(const QueryScale& scale, int64_t position, float* q) const {
  if (scale.beta == 0) return;
  const int64_t whole_periods = position / scale.period;
  const double turns = static_cast<double>(whole_periods);
  const auto factor = static_cast<float>(1 + double{scale.beta} * std::log(1 + turns));
  for (int64_t i = 0; i < int64_t{shape_.n_heads} * shape_.head_dim; ++i) q[i] *= factor;
}

void CpuLane::rope_and_store(int32_t layer, const RopeOptions& options, Buffer qkv) {
  clear_new_tiles(layer);
  Rows& rows = write(qkv, rows_of(qkv).rows);
  const int64_t head_dim = shape_.head_dim;
  const float* cos_sin = nullptr;
  bool interleaved = false;
  if (options.rope != kNoRope) {
    cos_sin = cos_sin_[static_cast<size_t>(options.rope)].data();
    interleaved = shape_.ropes[static_cast<size_t>(options.rope)].layout == RopeLayout::interleaved;
  }
  team_.divide(rows.rows, kRowGrain, [&](int64_t first, int64_t last, int) {
    for (int64_t row = first; row < last; ++row) {
      const StepSequence& sequence =
          batch_.sequences[static_cast<size_t>(sequence_of_row_[static_cast<size_t>(row)])];
      const int64_t position = sequence.context_tokens + row - sequence.first_row;
      float* q = rows.row(row);
      float* k = q + shape_.n_heads * head_dim;
      const float* v = k + shape_.n_kv_heads * head_dim;
      add_biases(options, q);
      norm_heads(options.q_norm, shape_.n_heads, q);
      norm_heads(options.k_norm, shape_.n_kv_heads, k);
      if (cos_sin != nullptr) {
        kernels_.rope(q, shape_.n_heads + shape_.n_kv_heads, head_dim, cos_sin + row * head_dim,
                      interleaved);
      }
      scale_query(options.query_scale, position, q);
      for (int32_t head = 0; head < shape_.n_kv_heads; ++head) {
        cpu::KvView kv = weights_.kv_view(layer, head);
        kv.block_table = sequence.block_table.data();
        kernels_.store_kv(kv, position, k + head * head_dim, v + head * head_dim);
      }
    }
  });
}

void CpuLane::attention(int32_t layer, const AttentionOptions& options, Buffer qkv, Buffer out) {
  const Rows& from = rows_of(qkv);
  Rows& to = write(out, from.rows);
  const int32_t group = shape_.n_heads / shape_.n_kv_heads;
  const auto n_units = static_cast<int64_t>(units_.size());
  team_.divide(n_units, 1, [&](int64_t first, int64_t last, int member) {
    for (int64_t u = first; u < last; ++u) {
      const AttentionUnit& unit = units_[static_cast<size_t>(u)];
      const StepSequence& sequence = batch_.sequences[static_cast<size_t>(unit.sequence)];
      const int64_t row = sequence.first_row + unit.first_query;
      const int64_t column = int64_t{unit.kv_head} * group * shape_.head_dim;
      cpu::AttentionArgs args;
      args.kv = weights_.kv_view(layer, unit.kv_head);
      args.kv.block_table = sequence.block_table.data();
      args.q = from.row(row) + column;
      args.q_stride = from.stride;
      args.out = to.row(row) + column;
      args.out_stride = to.stride;
      args.n_queries = unit.n_queries;
      args.group = group;
      args.first_position = sequence.context_tokens + unit.first_query;
      args.window = options.window;
      args.scale = options.scale;
      args.workspace = workspaces_[static_cast<size_t>(member)].data();
      kernels_.attention(args);
    }
  });
}

void CpuLane::gate_mul(Activation activation, Buffer gate_up, Buffer out) {
  const cpu::Gate gate =
      activation == Activation::gelu_tanh ? cpu::Gate::gelu_tanh : cpu::Gate::silu;
  const Rows& from = rows_of(gate_up);
  Rows& to = write(out, from.rows);
  const int64_t n = to.columns;
  team_.divide(from.rows, kRowGrain, [&](int64_t first, int64_t last, int) {
    for (int64_t row = first; row < last; ++row) {
      kernels_.gate_mul(gate, from.row(row), from.row(row) + n, n, to.row(row));
    }
  });
}

void CpuLane::gather_logit_rows(Buffer in, Buffer out) {
  const Rows& from = rows_of(in);
  const auto n = static_cast<int64_t>(batch_.logit_rows.size());
  Rows& to = write(out, n);
  for (int64_t i = 0; i < n; ++i) {
    const float* row = from.row(batch_.logit_rows[static_cast<size_t>(i)]);
    std::copy_n(row, from.columns, to.row(i));
  }
}

void CpuLane::sample(Buffer logits, std::span<const SampleRow> rows) {
  const Rows& from = rows_of(logits);
  sampled_.assign(rows.size(), {});
  team_.divide(from.rows, 1, [&](int64_t first, int64_t last, int member) {
    for (int64_t i = first; i < last; ++i) {
      const std::span<const float> row(from.row(i), static_cast<size_t>(from.columns));
      samplers_[static_cast<size_t>(member)].sample_row(row, rows[static_cast<size_t>(i)],
                                                        sampled_[static_cast<size_t>(i)]);
    }
  });
  batch_ = {};
}

void CpuLane::end_step() {
  sampled_.clear();
  batch_ = {};
}

Status CpuLane::collect(std::span<SampledToken> out) {
  PARKD_CHECK(out.size() == sampled_.size(), "a step is collected with its own rows");
  std::move(sampled_.begin(), sampled_.end(), out.begin());
  return {};
}

void CpuLane::read_row(Buffer buffer, int64_t row, std::span<float> out) {
  const Rows& from = rows_of(buffer);
  PARKD_CHECK(row < from.rows && static_cast<int64_t>(out.size()) == from.columns,
              "a row that the buffer does not have");
  std::copy_n(from.row(row), from.columns, out.data());
}

}  // namespace parkd
