#include "tests/ops/lane_case.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <utility>

#include "lib/base/units.h"
#include "tests/ops/reference.h"
#include "tests/support/random_data.h"

namespace parkd::testing {
namespace {

constexpr int32_t kNarrow = 32;  // columns of what inputs are made of
constexpr int32_t kLayers = 2;
constexpr int32_t kLayer = 1;
constexpr int32_t kEmbedVocab = 37;
constexpr int32_t kEmbedFirstPart = 20;
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

void require(const Status& status) {
  if (!status.ok()) throw std::runtime_error(status.to_string());
}

}  // namespace

LaneCase::LaneCase(const OpCase& c, const Implementation& implementation, uint64_t seed)
    : case_(c), implementation_(implementation), random_(seed) {
  int32_t longest = 0;
  for (const SequenceCase& sequence : c.sequences) {
    const int32_t n = sequence.context + sequence.rows;
    first_token_.push_back(n_tokens_);
    n_tokens_ += n;
    longest = std::max(longest, n);
    n_blocks_ += static_cast<int32_t>(ceil_div(n, c.heads.block_size));
  }
  n_blocks_ += 3;
  std::vector<int32_t> order(static_cast<size_t>(n_blocks_));
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), random_);
  auto next = order.begin();
  for (const SequenceCase& sequence : c.sequences) {
    const int64_t n = ceil_div(sequence.context + sequence.rows, c.heads.block_size);
    tables_.emplace_back(next, next + n);
    next += n;
  }
  shape_.n_layers = kLayers;
  shape_.hidden = has_heads() ? 64 : c.columns;
  shape_.ffn = shape_.hidden;
  shape_.n_heads = c.heads.n_heads;
  shape_.n_kv_heads = c.heads.n_kv_heads;
  shape_.head_dim = c.heads.head_dim;
  shape_.vocab = std::max(c.outputs, kEmbedVocab);
  shape_.context_tokens = longest;
  shape_.rms_eps = 1e-3F;  // large enough to show
  OpCase other = c;        // must not be taken for it
  other.rotates_in_part = !c.rotates_in_part;
  for (const RopeLayout layout : {RopeLayout::interleaved, RopeLayout::split_half}) {
    other.layout = layout;
    shape_.ropes.push_back(layout == c.layout ? c.rope() : other.rope());
  }
  auto backend = implementation.make(shape_);
  refusal_ = backend.status();
  if (!refusal_.ok()) return;
  backend_ = std::move(*backend);
  load();
  refusal_ = backend_->allocate_kv(n_blocks_, c.heads.block_size);
  if (!refusal_.ok()) return;
  auto lane = backend_->make_lane();
  require(lane.status());
  lane_ = std::move(*lane);
  int64_t rows_max = n_tokens_;
  if (has_heads()) rows_max = std::max(rows_max, int64_t{n_blocks_} * c.heads.block_size);
  narrow_ = lane_->make_buffer(rows_max, kNarrow);
  in_ = lane_->make_buffer(rows_max, in_columns());
  out_ = lane_->make_buffer(rows_max, out_columns());
}

int32_t LaneCase::in_columns() const {
  if (has_heads()) return case_.heads.columns();
  return case_.op == Op::gate_mul ? 2 * case_.columns : case_.columns;
}

int32_t LaneCase::out_columns() const {
  if (has_heads()) return case_.heads.n_heads * case_.heads.head_dim;
  const bool is_product = case_.op == Op::matmul || case_.op == Op::matmul_add;
  return is_product ? case_.outputs : case_.columns;
}

float LaneCase::scale() const {
  return 1.0F / std::sqrt(static_cast<float>(case_.heads.head_dim));
}

// --- weights and inputs

LaneCase::Tensor LaneCase::tensor_of(const std::vector<float>& values, int64_t rows) const {
  Tensor tensor;
  tensor.rows = rows;
  tensor.columns = static_cast<int64_t>(values.size()) / rows;
  tensor.bytes.resize(values.size() * sizeof(float));
  std::memcpy(tensor.bytes.data(), values.data(), tensor.bytes.size());
  return tensor;
}

LaneCase::Tensor LaneCase::random_tensor(TensorType type, int64_t rows, int64_t columns,
                                         float sigma) {
  if (type == TensorType::f32)
    return tensor_of(random_floats(random_, rows * columns, sigma), rows);
  Tensor tensor{type, rows, columns, {}};
  tensor.bytes = testing::random_tensor(random_, type, rows, columns);
  return tensor;
}

MatrixId LaneCase::load_matrix(const Tensor& tensor) {
  const TensorView view = {"blk.0.test", tensor.type, tensor.rows, tensor.columns, tensor.bytes};
  auto id = backend_->load_matrix({&view, 1});
  require(id.status());
  return *id;
}

// Makes rows of full floats, of about the size of 1, out of narrow ones. Some of attention's
// queries are large, for peaked softmaxes, where a wrong maximum shows.
LaneCase::Tensor LaneCase::spread_tensor() {
  const int64_t columns = in_columns();
  std::vector<float> values =
      random_floats(random_, columns * kNarrow, 1 / std::sqrt(static_cast<float>(kNarrow)));
  if (case_.op == Op::attention && !case_.rotates) {
    const float large = case_.values == Values::far ? 100.0F : 4.0F;
    for (int64_t column = 0; column < out_columns(); ++column) {
      if (case_.values == Values::normal && column / 97 % 3 != 0) continue;
      for (int64_t i = 0; i < kNarrow; ++i)
        values[static_cast<size_t>(column * kNarrow + i)] *= large;
    }
  }
  return tensor_of(values, columns);
}

LaneCase::Tensor LaneCase::far_gates() {
  std::vector<float> values = random_floats(random_, n_tokens_ * in_columns(), 4.0F);
  std::vector<float> far = {0.0F,    -0.0F, 80.0F, -80.0F, 300.0F,
                            -300.0F, 1e3F,  -1e3F, 87.0F,  -87.0F};
  if (implementation_.dtype != Dtype::f16) far.insert(far.end(), {1e30F, -1e30F});
  const size_t n = std::min(far.size(), static_cast<size_t>(case_.columns));
  std::copy_n(far.begin(), n, values.begin());
  return tensor_of(values, n_tokens_);
}

void LaneCase::load() {
  const auto vector = [&](std::vector<float>& values, int64_t n) {
    values = random_floats(random_, n);
    const Tensor tensor = tensor_of(values, 1);
    auto id = backend_->load_vector({"norm", TensorType::f32, 1, n, tensor.bytes});
    require(id.status());
    return *id;
  };
  narrow_table_ = load_matrix(random_tensor(TensorType::f32, n_tokens_, kNarrow, 1));
  spread_ = load_matrix(spread_tensor());
  if (adds()) sums_ = load_matrix(random_tensor(TensorType::f32, out_columns(), kNarrow, 1));
  nan_ = load_matrix(tensor_of(std::vector<float>(static_cast<size_t>(in_columns()), kNan), 1));
  switch (case_.op) {
    case Op::embed: {
      // Of two parts, as a table may be.
      weight_ = random_tensor(case_.weight, kEmbedVocab, case_.columns, 1);
      const size_t row_bytes = weight_.bytes.size() / kEmbedVocab;
      const std::span<const uint8_t> bytes = weight_.bytes;
      const TensorView parts[] = {{"a", case_.weight, kEmbedFirstPart, case_.columns,
                                   bytes.first(kEmbedFirstPart * row_bytes)},
                                  {"b", case_.weight, kEmbedVocab - kEmbedFirstPart, case_.columns,
                                   bytes.subspan(kEmbedFirstPart * row_bytes)}};
      auto id = backend_->load_matrix(parts);
      require(id.status());
      op_matrix_ = *id;
      for (int64_t t = 0; t < n_tokens_; ++t) {
        embedded_.push_back(t == 0 ? kEmbedVocab - 1
                                   : static_cast<TokenId>(random_() % kEmbedVocab));
      }
      break;
    }
    case Op::rms_norm:
    case Op::rms_norm_add:
      norm_id_ = vector(norm_, case_.columns);
      break;
    case Op::matmul:
    case Op::matmul_add:
      weight_ = random_tensor(case_.weight, case_.outputs, case_.columns, 0.1F);
      op_matrix_ = load_matrix(weight_);
      break;
    case Op::rope_and_store:
    case Op::attention:
      if (case_.biases) {
        const int64_t kv = int64_t{case_.heads.n_kv_heads} * case_.heads.head_dim;
        q_bias_id_ = vector(q_bias_, out_columns());
        k_bias_id_ = vector(k_bias_, kv);
        v_bias_id_ = vector(v_bias_, kv);
      }
      if (!case_.norms) break;
      q_norm_id_ = vector(q_norm_, case_.heads.head_dim);
      k_norm_id_ = vector(k_norm_, case_.heads.head_dim);
      break;
    case Op::gate_mul:
      if (case_.values == Values::far) far_ = load_matrix(far_gates());
      break;
    case Op::gather_logit_rows:
      break;
  }
  ins_.resize(static_cast<size_t>(n_tokens_));
  sums_before_.resize(static_cast<size_t>(n_tokens_));
}

void LaneCase::write_inputs() {
  if (case_.op == Op::embed) return;
  if (far_.index >= 0) {
    lane_->embed(far_, 1, in_);
  } else {
    lane_->embed(narrow_table_, 1, narrow_);
    lane_->matmul(spread_, narrow_, in_);
  }
  if (adds()) lane_->matmul(sums_, narrow_, out_);
  for (size_t row = 0; row < step_tokens_.size(); ++row) {
    const auto token = static_cast<size_t>(step_tokens_[row]);
    ins_[token] = read(in_, static_cast<int64_t>(row), in_columns());
    if (adds()) sums_before_[token] = read(out_, static_cast<int64_t>(row), out_columns());
  }
}

std::vector<float> LaneCase::read(Buffer buffer, int64_t row, int64_t columns) {
  std::vector<float> values(static_cast<size_t>(columns));
  lane_->read_row(buffer, row, values);
  return values;
}

// --- running

// What a former owner may have left in the blocks: NaN.
void LaneCase::spoil_memory() {
  if (implementation_.memory_is_nan || is_spoilt_ || !has_heads()) return;
  is_spoilt_ = true;
  std::vector<int32_t> table(static_cast<size_t>(n_blocks_));
  std::iota(table.begin(), table.end(), 0);
  const int32_t n = n_blocks_ * case_.heads.block_size;
  const std::vector<TokenId> tokens(static_cast<size_t>(n), 0);
  const StepSequence all = {0, n, 0, table};
  lane_->begin_step({tokens, {&all, 1}, {}});
  lane_->embed(nan_, 1, in_);
  lane_->rope_and_store(kLayer, {}, in_);
  lane_->end_step();
  require(lane_->collect({}));
}

void LaneCase::do_op(bool is_context) {
  RopeOptions rope;
  rope.q_norm = q_norm_id_;
  rope.k_norm = k_norm_id_;
  rope.q_bias = q_bias_id_;
  rope.k_bias = k_bias_id_;
  rope.v_bias = v_bias_id_;
  rope.query_scale = case_.query_scale;
  if (case_.rotates) rope.rope = case_.layout == RopeLayout::interleaved ? 0 : 1;
  switch (case_.op) {
    case Op::embed:
      return lane_->embed(op_matrix_, case_.scale, out_);
    case Op::rms_norm:
      return lane_->rms_norm(in_, norm_id_, out_);
    case Op::rms_norm_add:
      return lane_->rms_norm_add(in_, norm_id_, out_);
    case Op::matmul:
      return lane_->matmul(op_matrix_, in_, out_);
    case Op::matmul_add:
      return lane_->matmul_add(op_matrix_, in_, out_);
    case Op::rope_and_store:
      return lane_->rope_and_store(kLayer, rope, in_);
    case Op::attention:
      lane_->rope_and_store(kLayer, rope, in_);
      if (is_context) return;
      return lane_->attention(kLayer, {scale(), case_.window}, in_, out_);
    case Op::gate_mul:
      return lane_->gate_mul(case_.activation, in_, out_);
    case Op::gather_logit_rows:
      return lane_->gather_logit_rows(in_, out_);
  }
}

// A step of some rows of the sequences; what the op gives is put behind `rows`.
void LaneCase::step(const std::vector<StepSequence>& sequences, OpRows* rows) {
  std::vector<int32_t> logit_rows;
  for (const StepSequence& sequence : sequences) {
    logit_rows.push_back(sequence.first_row + sequence.n_rows - 1);
  }
  std::vector<TokenId> tokens = step_tokens_;
  if (case_.op == Op::embed) {
    for (TokenId& token : tokens) token = embedded_[static_cast<size_t>(token)];
  }
  lane_->begin_step({tokens, sequences, logit_rows});
  write_inputs();
  do_op(rows == nullptr);
  const bool gathers = case_.op == Op::gather_logit_rows;
  const size_t n_out = gathers ? logit_rows.size() : step_tokens_.size();
  for (size_t row = 0; rows != nullptr && row < n_out; ++row) {
    if (case_.op == Op::rope_and_store) {
      rows->push_back(read(in_, static_cast<int64_t>(row), in_columns()));
      rows->back().resize(
          static_cast<size_t>(out_columns()));  // q's; k and v are attention's to show
    } else {
      rows->push_back(read(out_, static_cast<int64_t>(row), out_columns()));
    }
  }
  lane_->end_step();
  require(lane_->collect({}));
}

OpRows LaneCase::run(int32_t chunk) {
  spoil_memory();
  OpRows rows;
  std::vector<StepSequence> sequences;
  const auto add = [&](size_t s, int32_t first, int32_t n) {
    sequences.push_back({static_cast<int32_t>(step_tokens_.size()), n, first, tables_[s]});
    for (int32_t i = 0; i < n; ++i) {
      step_tokens_.push_back(static_cast<TokenId>(first_token_[s] + first + i));
    }
  };
  const auto run_step = [&](bool counts) {
    if (!sequences.empty()) step(sequences, counts ? &rows : nullptr);
    sequences.clear();
    step_tokens_.clear();
  };
  for (size_t s = 0; has_heads() && s < case_.sequences.size(); ++s) {
    if (case_.sequences[s].context > 0) add(s, 0, case_.sequences[s].context);
  }
  run_step(false);
  for (size_t s = 0; s < case_.sequences.size(); ++s) {
    const SequenceCase& sequence = case_.sequences[s];
    const int32_t at_once = chunk == 0 ? sequence.rows : chunk;
    for (int32_t first = 0; first < sequence.rows; first += at_once) {
      add(s, sequence.context + first, std::min(at_once, sequence.rows - first));
      if (chunk > 0) run_step(true);
    }
  }
  run_step(true);
  return rows;
}

}  // namespace parkd::testing
