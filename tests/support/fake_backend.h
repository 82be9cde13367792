// FakeBackend: a Backend that computes hashes instead of floats, for tests of everything above it.
//
// Each op mixes its name, its weight and its inputs into one 64-bit value a row; K and V are such
// values in real block memory, read back through the block tables that the engine gives. So a
// token is a pure function of its sequence's history, and a wrong block, a missed position, a
// weight of the wrong layer or ops in the wrong order change it. expected_tokens() computes the
// same without lanes, batches or blocks: the oracle.
#pragma once

#include <algorithm>
#include <bit>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/check.h"
#include "lib/base/text.h"
#include "lib/engine/generation.h"
#include "lib/model/backend.h"
#include "lib/model/model.h"

namespace parkd::testing {

constexpr int32_t kFakeVocab = 256;

inline uint64_t mix(uint64_t a, uint64_t b) {
  uint64_t x = a * 0x9e3779b97f4a7c15ull + b + 0x7f4a7c15ull;  // splitmix64's finaliser
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

// The ops, as functions of one row.
namespace fake_op {
inline uint64_t embed(uint64_t table, float scale, TokenId token) {
  return mix(mix(mix(1, table), std::bit_cast<uint32_t>(scale)), token);
}
inline uint64_t rms_norm(uint64_t in, uint64_t weight) {
  return mix(mix(2, weight), in);
}
inline uint64_t matmul(uint64_t weight, uint64_t in) {
  return mix(mix(3, weight), in);
}
inline uint64_t add(uint64_t sum, uint64_t in) {
  return mix(mix(4, sum), in);
}
// `bias`: 0 where there is none.
inline uint64_t key_value(int32_t layer, int32_t rope, uint64_t norm, uint64_t bias, uint64_t qkv,
                          int64_t position) {
  return mix(mix(mix(mix(5, layer), mix(mix(norm, bias), rope)), qkv), position);
}
inline uint64_t rotated_query(int32_t rope, uint64_t norm, uint64_t bias, const QueryScale& scale,
                              uint64_t qkv, int64_t position) {
  const uint64_t factor = mix(std::bit_cast<uint32_t>(scale.beta), position / scale.period);
  return mix(mix(mix(6, mix(mix(norm, bias), rope)), mix(qkv, factor)), position);
}
inline uint64_t attention_start(int32_t layer, float scale, uint64_t query) {
  return mix(mix(mix(7, layer), std::bit_cast<uint32_t>(scale)), query);
}
// The first position that one with a window sees.
inline int64_t first_seen(int32_t window, int64_t position) {
  return window > 0 ? std::max<int64_t>(0, position + 1 - window) : 0;
}
inline uint64_t attend(uint64_t so_far, uint64_t key_value) {
  return mix(so_far, key_value);
}
inline uint64_t gate_mul(Activation activation, uint64_t in) {
  return mix(mix(8, static_cast<uint64_t>(activation)), in);
}
}  // namespace fake_op

// A row whose prompt holds this token has no finite logits.
constexpr TokenId kPoisonToken = 255;

// Edits as a device sees them: its own copy, with the token that the host has not seen counted.
inline std::vector<LogitEdit> complete_edits(std::vector<LogitEdit> edits, TokenId unseen) {
  std::map<TokenId, LogitEdit> by_token;
  for (const LogitEdit& edit : edits) {
    PARKD_CHECK(by_token.emplace(edit.token, edit).second, "a token has one edit");
  }
  if (unseen >= 0) {
    LogitEdit& edit = by_token.emplace(unseen, LogitEdit{unseen, 0, 0}).first->second;
    edit.in_output = std::max(edit.in_output, 0) + 1;
  }
  edits.clear();
  for (const auto& [token, edit] : by_token) edits.push_back(edit);
  return edits;
}

inline SampledToken fake_sample(uint64_t logits, const SampleRow& row) {
  uint64_t choice = logits;
  for (const LogitEdit& edit : row.edits) {
    choice = mix(mix(choice, edit.token), mix(edit.in_output, fnv1a64(std::to_string(edit.bias))));
  }
  if (row.params->temperature > 0) {
    choice = mix(choice, mix(mix(row.params->seed, row.choice_index), row.position));
  }
  SampledToken sampled;
  sampled.token = static_cast<TokenId>(choice % (kFakeVocab - 1));  // never the poison token
  sampled.logprob = -static_cast<float>(choice >> 40) / 16777216.0F;
  for (int32_t i = 0; i < row.params->top_logprobs; ++i) {
    const uint64_t other = mix(logits, i);
    sampled.top.push_back({static_cast<TokenId>(other % kFakeVocab), -static_cast<float>(i)});
  }
  return sampled;
}

inline ModelShape fake_shape() {
  ModelShape shape;
  shape.n_layers = 2;
  shape.hidden = 8;
  shape.ffn = 16;
  shape.n_heads = 2;
  shape.n_kv_heads = 1;
  shape.head_dim = 4;
  shape.vocab = kFakeVocab;
  shape.context_tokens = 1024;
  shape.embedding_scale = 3;
  shape.layers = {{.rope = 1, .attention_scale = 0.5F, .query_scale = {0.25F, 5}},
                  {.rope = kNoRope,
                   .attention_scale = 0.25F,
                   .window = 11,
                   .query_scale = {},
                   .activation = Activation::gelu_tanh}};
  return shape;
}

class FakeBackend final : public Backend {
 public:
  // Runs at the start of every step, on the lane's thread. Set before lanes are made.
  std::function<void(const StepBatch&)> on_step;
  // What a step that was computed is collected as, on the lane's thread; an error leaves the K and
  // V of the steps under way spoilt. Set before lanes are made.
  std::function<Status(const StepBatch&)> on_collect;
  // What its lanes answer before the first job.
  Status prepare_status;
  // 1: a step's ops run when it is collected, as late as a device may: whatever the engine gave
  // away too early is then overwritten.
  int32_t steps_ahead = 0;

  Result<MatrixId> load_matrix(std::span<const TensorView> parts) override {
    return MatrixId{add_weight(parts)};
  }
  Result<VectorId> load_vector(const TensorView& vector) override {
    return VectorId{add_weight({&vector, 1})};
  }
  Status allocate_kv(int64_t n_blocks, int32_t block_size) override {
    block_size_ = block_size;
    for (auto& layer : kv_) layer.assign(static_cast<size_t>(n_blocks * block_size), 0);
    return {};
  }
  Result<int64_t> fit_kv(int64_t n_blocks_max, int32_t block_size) override {
    PARKD_RETURN_IF_ERROR(allocate_kv(n_blocks_max, block_size));
    return n_blocks_max;
  }
  Result<std::unique_ptr<Lane>> make_lane() override;
  std::string describe() const override { return "fake"; }
  int64_t weight_bytes() const override { return 0; }
  int64_t kv_bytes() const override { return 0; }

  uint64_t weight(int32_t index) const { return weights_.at(static_cast<size_t>(index)); }

 private:
  friend class FakeLane;
  int32_t add_weight(std::span<const TensorView> parts) {
    uint64_t hash = 0;
    for (const TensorView& part : parts) hash = mix(hash, fnv1a64(part.name));
    weights_.push_back(hash);
    return static_cast<int32_t>(weights_.size()) - 1;
  }

  std::vector<uint64_t> weights_;
  int32_t block_size_ = 0;
  std::vector<std::vector<uint64_t>> kv_ =
      std::vector<std::vector<uint64_t>>(static_cast<size_t>(fake_shape().n_layers));
};

class FakeLane final : public Lane {
 public:
  explicit FakeLane(FakeBackend& backend) : backend_(backend) {}

  Buffer make_buffer(int64_t rows_max, int64_t) override {
    buffers_.emplace_back();
    rows_max_.push_back(rows_max);
    return {static_cast<int32_t>(buffers_.size()) - 1};
  }

  Status run_largest_step(const std::function<void(const StepBatch&)>&, Buffer) override {
    return {};
  }
  Status prepare(const std::function<void(const StepBatch&)>&, Buffer) override {
    return backend_.prepare_status;
  }
  int32_t steps_ahead() const override { return backend_.steps_ahead; }

  void begin_step(const StepBatch& batch) override {
    if (backend_.on_step) backend_.on_step(batch);
    PARKD_CHECK(!in_step_, "the last step was not ended");
    PARKD_CHECK(static_cast<int32_t>(steps_.size()) <= backend_.steps_ahead,
                "more steps begun than the lane can be ahead");
    in_step_ = true;
    steps_.emplace_back(batch);
    now_or_later([this] { start(); });
  }

  // The start of a step, when its time comes.
  void start() {
    const StepBatch& batch = batch_ = steps_.front().batch();
    for (TokenId& token : steps_.front().tokens) {
      if (token < 0) token = sampled_.at(static_cast<size_t>(-1 - token)).token;
    }
    poisoned_.assign(batch.tokens.size(), false);
    std::map<int32_t, int> n_tables;  // by block
    int32_t next_row = 0;
    for (const StepSequence& sequence : batch.sequences) {
      PARKD_CHECK(sequence.first_row == next_row && sequence.n_rows > 0, "rows are contiguous");
      next_row += sequence.n_rows;
      const int64_t n_tokens = sequence.context_tokens + int64_t{sequence.n_rows};
      PARKD_CHECK(
          static_cast<int64_t>(sequence.block_table.size()) * backend_.block_size_ >= n_tokens,
          "the table covers the rows");
      for (const int32_t block : sequence.block_table) ++n_tables[block];
    }
    for (const StepSequence& sequence : batch.sequences) {
      const auto first_written =
          static_cast<size_t>(sequence.context_tokens / backend_.block_size_);
      for (const int32_t block : sequence.block_table.subspan(first_written)) {
        PARKD_CHECK(n_tables[block] == 1, "a block that is written has one owner");
      }
    }
    PARKD_CHECK(next_row == static_cast<int32_t>(batch.tokens.size()), "every row has a sequence");
    PARKD_CHECK(next_row > 0, "a step computes something");
  }

  void embed(MatrixId table, float scale, Buffer out) override {
    now_or_later([=, this] { do_embed(table, scale, out); });
  }
  void rms_norm(Buffer in, VectorId weight, Buffer out) override {
    now_or_later([=, this] {
      map(in, out, [&](uint64_t x) { return fake_op::rms_norm(x, backend_.weight(weight.index)); });
    });
  }
  void rms_norm_add(Buffer in, VectorId weight, Buffer sum) override {
    now_or_later([=, this] {
      do_add(in, sum,
             [&](uint64_t x) { return fake_op::rms_norm(x, backend_.weight(weight.index)); });
    });
  }
  void matmul(MatrixId weight, Buffer in, Buffer out) override {
    now_or_later([=, this] {
      map(in, out, [&](uint64_t x) { return fake_op::matmul(backend_.weight(weight.index), x); });
    });
  }
  void matmul_add(MatrixId weight, Buffer in, Buffer sum) override {
    now_or_later([=, this] {
      do_add(in, sum,
             [&](uint64_t x) { return fake_op::matmul(backend_.weight(weight.index), x); });
    });
  }
  void rope_and_store(int32_t layer, const RopeOptions& options, Buffer qkv) override {
    now_or_later([=, this] { do_rope_and_store(layer, options, qkv); });
  }
  void attention(int32_t layer, const AttentionOptions& options, Buffer qkv, Buffer out) override {
    now_or_later([=, this] { do_attention(layer, options, qkv, out); });
  }
  void gate_mul(Activation activation, Buffer gate_up, Buffer out) override {
    now_or_later([=, this] {
      map(gate_up, out, [=](uint64_t x) { return fake_op::gate_mul(activation, x); });
    });
  }
  void gather_logit_rows(Buffer in, Buffer out) override {
    now_or_later([=, this] { do_gather(in, out); });
  }
  void sample(Buffer logits, std::span<const SampleRow> rows) override {
    PARKD_CHECK(rows.size() == steps_.back().logit_rows.size(), "one choice a logit row");
    std::vector<std::vector<LogitEdit>> edits;  // the engine's are gone when this returns
    for (const SampleRow& row : rows) {
      PARKD_CHECK(row.unseen_row < 0 || backend_.steps_ahead > 0, "all is seen at once");
      edits.emplace_back(row.edits.begin(), row.edits.end());
    }
    now_or_later([=, this] { do_sample(logits, rows, edits); });
    in_step_ = false;
  }
  void end_step() override {
    PARKD_CHECK(steps_.back().logit_rows.empty(), "sampled rows end with sample()");
    now_or_later([this] { sampled_.clear(); });
    in_step_ = false;
  }
  Status collect(std::span<SampledToken> out) override {
    PARKD_CHECK(!steps_.empty() && !(in_step_ && steps_.size() == 1), "a step is ended first");
    for (const auto& op : steps_.front().ops) op();
    PARKD_CHECK(out.size() == sampled_.size(), "one choice a logit row");
    std::copy(sampled_.begin(), sampled_.end(), out.begin());
    const Status status =
        backend_.on_collect ? backend_.on_collect(steps_.front().batch()) : Status();
    if (!status.ok()) return give_up_steps(status);
    steps_.pop_front();
    return {};
  }
  void read_row(Buffer buffer, int64_t row, std::span<float> out) override {
    PARKD_CHECK(backend_.steps_ahead == 0, "rows are read where ops run at once");
    const uint64_t hash = at(buffer).at(static_cast<size_t>(row));
    for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<float>(mix(hash, i) >> 40);
  }

 private:
  // A step's batch as a device has it: a copy.
  struct Step {
    explicit Step(const StepBatch& from)
        : tokens(from.tokens.begin(), from.tokens.end()),
          sequences(from.sequences.begin(), from.sequences.end()),
          logit_rows(from.logit_rows.begin(), from.logit_rows.end()) {
      for (StepSequence& sequence : sequences) {
        tables.emplace_back(sequence.block_table.begin(), sequence.block_table.end());
        sequence.block_table = tables.back();
      }
    }
    StepBatch batch() const { return {tokens, sequences, logit_rows}; }

    std::vector<TokenId> tokens;
    std::vector<StepSequence> sequences;
    std::list<std::vector<int32_t>> tables;
    std::vector<int32_t> logit_rows;
    std::vector<std::function<void()>> ops;
  };

  Status give_up_steps(const Status& why) {
    for (const Step& step : steps_) {
      batch_ = step.batch();
      for_each_row([&](const StepSequence& sequence, size_t, int64_t position) {
        for (size_t layer = 0; layer < backend_.kv_.size(); ++layer) {
          cell(static_cast<int32_t>(layer), sequence, position) = 0xDEAD;
        }
      });
    }
    steps_.clear();
    return why;
  }
  void now_or_later(std::function<void()> op) {
    if (backend_.steps_ahead > 0) {
      steps_.back().ops.push_back(std::move(op));
    } else {
      op();
    }
  }

  void do_embed(MatrixId table, float scale, Buffer out) {
    auto& rows = resized(out, batch_.tokens.size());
    for (size_t i = 0; i < rows.size(); ++i) {
      rows[i] = fake_op::embed(backend_.weight(table.index), scale, batch_.tokens[i]);
      poisoned_[i] = batch_.tokens[i] == kPoisonToken;
    }
  }
  template <class Op>
  void do_add(Buffer in, Buffer sum, const Op& op) {
    const auto& x = at(in);
    auto& rows = at(sum);
    PARKD_CHECK(x.size() == rows.size(), "the sum has the input's rows");
    for (size_t i = 0; i < rows.size(); ++i) rows[i] = fake_op::add(rows[i], op(x[i]));
  }
  void do_rope_and_store(int32_t layer, const RopeOptions& options, Buffer qkv) {
    auto& rows = at(qkv);
    const uint64_t q_norm = backend_.weight(options.q_norm.index);
    const uint64_t k_norm = backend_.weight(options.k_norm.index);
    const auto bias = [&](VectorId id) { return id.index < 0 ? 0 : backend_.weight(id.index); };
    const uint64_t kv_bias = mix(bias(options.k_bias), bias(options.v_bias));
    for_each_row([&](const StepSequence& sequence, size_t row, int64_t position) {
      cell(layer, sequence, position) =
          fake_op::key_value(layer, options.rope, k_norm, kv_bias, rows[row], position);
      rows[row] = fake_op::rotated_query(options.rope, q_norm, bias(options.q_bias),
                                         options.query_scale, rows[row], position);
    });
  }
  void do_attention(int32_t layer, const AttentionOptions& options, Buffer qkv, Buffer out) {
    auto& rows = resized(out, at(qkv).size());
    const auto& queries = at(qkv);
    for_each_row([&](const StepSequence& sequence, size_t row, int64_t position) {
      rows[row] = fake_op::attention_start(layer, options.scale, queries[row]);
      for (int64_t p = fake_op::first_seen(options.window, position); p <= position; ++p) {
        rows[row] = fake_op::attend(rows[row], cell(layer, sequence, p));
      }
    });
  }
  void do_gather(Buffer in, Buffer out) {
    auto& rows = resized(out, batch_.logit_rows.size());
    int32_t last = -1;
    for (size_t i = 0; i < rows.size(); ++i) {
      PARKD_CHECK(batch_.logit_rows[i] > last, "logit rows ascend");
      last = batch_.logit_rows[i];
      rows[i] = at(in).at(static_cast<size_t>(last));
    }
  }
  void do_sample(Buffer logits, std::span<const SampleRow> rows,
                 const std::vector<std::vector<LogitEdit>>& edits) {
    const std::vector<SampledToken> last = std::exchange(sampled_, {});
    sampled_.resize(rows.size());
    for (size_t i = 0; i < rows.size(); ++i) {
      const auto unseen = static_cast<size_t>(rows[i].unseen_row);
      const std::vector<LogitEdit> complete =
          complete_edits(edits[i], rows[i].unseen_row < 0 ? -1 : last.at(unseen).token);
      SampleRow row = rows[i];
      row.edits = complete;
      sampled_[i] = fake_sample(at(logits).at(i), row);
      if (poisoned_[static_cast<size_t>(batch_.logit_rows[i])]) sampled_[i].token = -1;
    }
  }

  std::vector<uint64_t>& at(Buffer buffer) {
    return buffers_.at(static_cast<size_t>(buffer.index));
  }
  std::vector<uint64_t>& resized(Buffer buffer, size_t rows) {
    PARKD_CHECK(static_cast<int64_t>(rows) <= rows_max_.at(static_cast<size_t>(buffer.index)),
                "more rows than the buffer was made for");
    at(buffer).resize(rows);
    return at(buffer);
  }
  template <class F>
  void map(Buffer in, Buffer out, F f) {
    auto& rows = resized(out, at(in).size());
    for (size_t i = 0; i < rows.size(); ++i) rows[i] = f(at(in)[i]);
  }
  template <class F>
  void for_each_row(F f) {
    for (const StepSequence& sequence : batch_.sequences) {
      for (int32_t i = 0; i < sequence.n_rows; ++i) {
        f(sequence, static_cast<size_t>(sequence.first_row + i),
          int64_t{sequence.context_tokens} + i);
      }
    }
  }
  uint64_t& cell(int32_t layer, const StepSequence& sequence, int64_t position) {
    const int64_t block =
        sequence.block_table[static_cast<size_t>(position / backend_.block_size_)];
    return backend_.kv_.at(static_cast<size_t>(layer))
        .at(static_cast<size_t>(block * backend_.block_size_ + position % backend_.block_size_));
  }
  FakeBackend& backend_;
  std::vector<std::vector<uint64_t>> buffers_;
  std::vector<int64_t> rows_max_;
  std::vector<bool> poisoned_;
  std::deque<Step> steps_;  // begun and not collected
  bool in_step_ = false;
  StepBatch batch_;  // of the step whose ops run
  std::vector<SampledToken> sampled_;
};

inline Result<std::unique_ptr<Lane>> FakeBackend::make_lane() {
  return std::unique_ptr<Lane>(std::make_unique<FakeLane>(*this));
}

// The weights of fake_shape() under GGUF's names, stacked as the card of a real model is.
inline ModelWeights load_fake_weights(FakeBackend& backend) {
  const auto matrix = [&](const std::vector<std::string>& names) {
    std::vector<TensorView> parts;
    for (const std::string& name : names) parts.push_back({name, TensorType::f32, 1, 1, {}});
    return backend.load_matrix(parts).value();
  };
  const auto vector = [&](const std::string& name) {
    return backend.load_vector({name, TensorType::f32, 1, 1, {}}).value();
  };
  ModelWeights weights;
  weights.embedding = matrix({"token_embd"});
  for (int32_t i = 0; i < fake_shape().n_layers; ++i) {
    const std::string layer = "blk." + std::to_string(i) + ".";
    // The last layer norms what it adds.
    const bool norms_after = i + 1 == fake_shape().n_layers;
    const auto after = [&](const char* name) {
      return norms_after ? vector(layer + name) : VectorId{};
    };
    weights.layers.push_back({vector(layer + "attn_norm"),
                              matrix({layer + "attn_q", layer + "attn_k", layer + "attn_v"}),
                              vector(layer + "attn_q_norm"), vector(layer + "attn_k_norm"),
                              vector(layer + "attn_q.bias"), vector(layer + "attn_k.bias"),
                              vector(layer + "attn_v.bias"), matrix({layer + "attn_output"}),
                              after("post_attention_norm"), vector(layer + "ffn_norm"),
                              matrix({layer + "ffn_gate", layer + "ffn_up"}),
                              matrix({layer + "ffn_down"}), after("post_ffw_norm")});
  }
  weights.output_norm = vector("output_norm");
  weights.head = matrix({"output"});
  return weights;
}

// The logits' hash after `tokens`, by the textbook: one sequence, whole, in plain memory.
inline uint64_t expected_logits(const std::vector<TokenId>& tokens) {
  const auto weight = [](const std::vector<std::string>& names) {
    uint64_t hash = 0;
    for (const std::string& name : names) hash = mix(hash, fnv1a64(name));
    return hash;
  };
  std::vector<uint64_t> stream;
  for (const TokenId token : tokens)
    stream.push_back(fake_op::embed(weight({"token_embd"}), fake_shape().embedding_scale, token));
  for (int32_t i = 0; i < fake_shape().n_layers; ++i) {
    const std::string layer = "blk." + std::to_string(i) + ".";
    const LayerPlan plan = fake_shape().layers[static_cast<size_t>(i)];
    std::vector<uint64_t> key_values;
    for (size_t p = 0; p < stream.size(); ++p) {
      const uint64_t qkv =
          fake_op::matmul(weight({layer + "attn_q", layer + "attn_k", layer + "attn_v"}),
                          fake_op::rms_norm(stream[p], weight({layer + "attn_norm"})));
      const auto position = static_cast<int64_t>(p);
      key_values.push_back(fake_op::key_value(
          i, plan.rope, weight({layer + "attn_k_norm"}),
          mix(weight({layer + "attn_k.bias"}), weight({layer + "attn_v.bias"})), qkv, position));
      uint64_t attended = fake_op::attention_start(
          i, plan.attention_scale,
          fake_op::rotated_query(plan.rope, weight({layer + "attn_q_norm"}),
                                 weight({layer + "attn_q.bias"}), plan.query_scale, qkv, position));
      for (auto t = static_cast<size_t>(fake_op::first_seen(plan.window, position));
           t < key_values.size(); ++t) {
        attended = fake_op::attend(attended, key_values[t]);
      }
      const auto normed_after = [&](const char* name, uint64_t x) {
        return i + 1 < fake_shape().n_layers ? x : fake_op::rms_norm(x, weight({layer + name}));
      };
      const uint64_t after = fake_op::add(
          stream[p], normed_after("post_attention_norm",
                                  fake_op::matmul(weight({layer + "attn_output"}), attended)));
      const uint64_t activated = fake_op::gate_mul(
          plan.activation, fake_op::matmul(weight({layer + "ffn_gate", layer + "ffn_up"}),
                                           fake_op::rms_norm(after, weight({layer + "ffn_norm"}))));
      stream[p] = fake_op::add(
          after,
          normed_after("post_ffw_norm", fake_op::matmul(weight({layer + "ffn_down"}), activated)));
    }
  }
  return fake_op::matmul(weight({"output"}),
                         fake_op::rms_norm(stream.back(), weight({"output_norm"})));
}

// What LogitEdits should say, counted from the start, of which n_prompt are the prompt.
inline std::vector<LogitEdit> expected_edits(const SamplingParams& params, size_t n_prompt,
                                             const std::vector<TokenId>& tokens) {
  std::map<TokenId, LogitEdit> edits;
  const auto edit_of = [&edits](TokenId token) -> LogitEdit& {
    return edits.emplace(token, LogitEdit{token, -1, 0}).first->second;
  };
  const bool repetition = params.repetition_penalty != 1;
  const bool penalties =
      repetition || params.presence_penalty != 0 || params.frequency_penalty != 0;
  for (size_t i = 0; i < tokens.size(); ++i) {
    const bool in_prompt = i < n_prompt;
    if (in_prompt ? !repetition : !penalties) continue;
    LogitEdit& edit = edit_of(tokens[i]);
    edit.in_output = std::max(edit.in_output, 0) + (in_prompt ? 0 : 1);
  }
  for (const TokenBias& bias : params.logit_bias) edit_of(bias.token).bias = bias.bias;
  std::vector<LogitEdit> list;
  for (const auto& [token, edit] : edits) list.push_back(edit);
  return list;
}

// What the choice at `index` of the result generates when nothing stops it before max_new_tokens.
inline std::vector<SampledToken> expected_tokens(const GenerationRequest& request, int32_t index) {
  const GenerationPrompt& prompt = request.prompts[static_cast<size_t>(index / request.n_choices)];
  const int32_t stream = prompt.first_stream + index % request.n_choices;
  std::vector<TokenId> tokens = prompt.tokens;
  std::vector<SampledToken> sampled;
  for (int32_t i = 0; i < prompt.max_new_tokens; ++i) {
    const std::vector<LogitEdit> edits =
        expected_edits(request.sampling, prompt.tokens.size(), tokens);
    const SampleRow row{&request.sampling, stream, static_cast<int32_t>(tokens.size()), edits};
    sampled.push_back(fake_sample(expected_logits(tokens), row));
    tokens.push_back(sampled.back().token);
  }
  return sampled;
}

}  // namespace parkd::testing
