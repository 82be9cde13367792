// The self-check refuses a backend that answers wrongly, and lets a right one pass.
#include "lib/backend/self_check.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <deque>
#include <iostream>

#include "lib/backend/cpu/cpu_backend.h"
#include "tests/support/tiny_model.h"

namespace parkd {
namespace {

// What is wrong with a stand-in; nothing, as it is made.
struct Bend {
  std::function<void(ModelShape&)> shape = [](ModelShape&) {};
  // What the ops are called with.
  std::function<void(RopeOptions&)> rope = [](RopeOptions&) {};
  std::function<void(AttentionOptions&)> attention = [](AttentionOptions&) {};
  // Tensors that are loaded otherwise than they are: (name, bytes).
  std::function<void(const TensorView&, std::vector<uint8_t>&)> tensor;
  // Of a step: what the lane is given instead.
  std::function<void(std::vector<TokenId>&, std::vector<std::vector<int32_t>>& tables,
                     std::vector<StepSequence>&)>
      step;
  // Of a sampled row.
  std::function<void(SampleRow&, SamplingParams&)> choice;
  std::function<void(std::vector<SampledToken>&)> chosen;
  int32_t ahead = 1;
  // Which row's token is fed back for `row`.
  std::function<int32_t(int32_t row)> fed_back = [](int32_t row) { return row; };
  int32_t fed_back_steps_ago = 1;
};

// The CPU stands in for a device that may be a step ahead.
class StandInLane final : public Lane {
 public:
  StandInLane(std::unique_ptr<Lane> cpu, const Bend& bend) : bend_(bend), cpu_(std::move(cpu)) {}

  Buffer make_buffer(int64_t rows_max, int64_t columns) override {
    return cpu_->make_buffer(rows_max, columns);
  }
  Status run_largest_step(const std::function<void(const StepBatch&)>& forward,
                          Buffer logits) override {
    return cpu_->run_largest_step(forward, logits);
  }
  Status prepare(const std::function<void(const StepBatch&)>& forward, Buffer logits) override {
    return cpu_->prepare(forward, logits);
  }
  int32_t steps_ahead() const override { return bend_.ahead; }

  void begin_step(const StepBatch& batch) override {
    tokens_.assign(batch.tokens.begin(), batch.tokens.end());
    for (TokenId& token : tokens_) {
      if (token < 0) token = fed_back(-1 - token);
    }
    sequences_.assign(batch.sequences.begin(), batch.sequences.end());
    tables_.clear();
    for (const StepSequence& sequence : batch.sequences) {
      tables_.emplace_back(sequence.block_table.begin(), sequence.block_table.end());
    }
    if (bend_.step) bend_.step(tokens_, tables_, sequences_);
    for (size_t i = 0; i < sequences_.size(); ++i) sequences_[i].block_table = tables_[i];
    cpu_->begin_step({tokens_, sequences_, batch.logit_rows});
  }

  void embed(MatrixId table, float scale, Buffer out) override { cpu_->embed(table, scale, out); }
  void rms_norm(Buffer in, VectorId weight, Buffer out) override {
    cpu_->rms_norm(in, weight, out);
  }
  void rms_norm_add(Buffer in, VectorId weight, Buffer sum) override {
    cpu_->rms_norm_add(in, weight, sum);
  }
  void matmul(MatrixId weight, Buffer in, Buffer out) override { cpu_->matmul(weight, in, out); }
  void matmul_add(MatrixId weight, Buffer in, Buffer sum) override {
    cpu_->matmul_add(weight, in, sum);
  }
  void rope_and_store(int32_t layer, const RopeOptions& options, Buffer qkv) override {
    RopeOptions bent = options;
    bend_.rope(bent);
    cpu_->rope_and_store(layer, bent, qkv);
  }
  void attention(int32_t layer, const AttentionOptions& options, Buffer qkv, Buffer out) override {
    AttentionOptions bent = options;
    bend_.attention(bent);
    cpu_->attention(layer, bent, qkv, out);
  }
  void gate_mul(Activation activation, Buffer gate_up, Buffer out) override {
    cpu_->gate_mul(activation, gate_up, out);
  }
  void gather_logit_rows(Buffer in, Buffer out) override { cpu_->gather_logit_rows(in, out); }

  void sample(Buffer logits, std::span<const SampleRow> rows) override {
    std::vector<SampleRow> bent(rows.begin(), rows.end());
    std::deque<SamplingParams> params;
    for (SampleRow& row : bent) {
      params.push_back(*row.params);
      row.params = &params.back();
      if (bend_.choice) bend_.choice(row, params.back());
    }
    cpu_->sample(logits, bent);
    keep(rows.size());
    if (bend_.chosen) bend_.chosen(chosen_.back());
  }
  void end_step() override {
    cpu_->end_step();
    keep(0);
  }
  Status collect(std::span<SampledToken> out) override {
    const std::vector<SampledToken>& oldest = chosen_[n_collected_++];
    EXPECT_EQ(out.size(), oldest.size());
    std::copy(oldest.begin(), oldest.end(), out.begin());
    return {};
  }
  void read_row(Buffer buffer, int64_t row, std::span<float> out) override {
    cpu_->read_row(buffer, row, out);
  }

 private:
  void keep(size_t n_rows) {
    std::vector<SampledToken> sampled(n_rows);
    ASSERT_TRUE(cpu_->collect(sampled).ok());
    chosen_.push_back(std::move(sampled));
  }

  TokenId fed_back(int32_t row) const {
    EXPECT_LT(n_collected_, chosen_.size()) << "only of a step that is not collected";
    const auto& step = chosen_[chosen_.size() - static_cast<size_t>(bend_.fed_back_steps_ago)];
    return step[static_cast<size_t>(bend_.fed_back(row))].token;
  }

  const Bend& bend_;
  const std::unique_ptr<Lane> cpu_;
  std::vector<TokenId> tokens_;
  std::vector<std::vector<int32_t>> tables_;
  std::vector<StepSequence> sequences_;
  std::deque<std::vector<SampledToken>> chosen_;  // of every step
  size_t n_collected_ = 0;
};

class StandIn final : public Backend {
 public:
  StandIn(std::unique_ptr<Backend> cpu, const Bend& bend) : bend_(bend), cpu_(std::move(cpu)) {}

  Result<MatrixId> load_matrix(std::span<const TensorView> parts) override {
    if (!bend_.tensor) return cpu_->load_matrix(parts);
    std::vector<TensorView> bent(parts.begin(), parts.end());
    std::deque<std::vector<uint8_t>> bytes;
    for (TensorView& part : bent) {
      bytes.emplace_back(part.bytes.begin(), part.bytes.end());
      bend_.tensor(part, bytes.back());
      part.bytes = bytes.back();
    }
    return cpu_->load_matrix(bent);
  }
  Result<VectorId> load_vector(const TensorView& vector) override {
    return cpu_->load_vector(vector);
  }
  // One more than there are, for a bend to point at.
  Status allocate_kv(int64_t n_blocks, int32_t block_size) override {
    return cpu_->allocate_kv(n_blocks + 1, block_size);
  }
  Result<int64_t> fit_kv(int64_t n_blocks_max, int32_t block_size) override {
    return cpu_->fit_kv(n_blocks_max, block_size);
  }
  Result<std::unique_ptr<Lane>> make_lane() override {
    PARKD_ASSIGN_OR_RETURN(std::unique_ptr<Lane> lane, cpu_->make_lane());
    return std::unique_ptr<Lane>(std::make_unique<StandInLane>(std::move(lane), bend_));
  }
  std::string describe() const override { return cpu_->describe(); }
  int64_t weight_bytes() const override { return cpu_->weight_bytes(); }
  int64_t kv_bytes() const override { return cpu_->kv_bytes(); }

 private:
  const Bend& bend_;
  const std::unique_ptr<Backend> cpu_;
};

Result<SelfCheckReport> check(const ModelCard& card, const SelfCheckOptions& options,
                              const Bend& bend) {
  return check_against_cpu(
      card, options, [&](const ModelShape& shape) -> Result<std::unique_ptr<Backend>> {
        CpuBackendOptions cpu;
        cpu.shape = shape;
        cpu.dtype = options.dtype;
        bend.shape(cpu.shape);
        PARKD_ASSIGN_OR_RETURN(std::unique_ptr<Backend> backend, make_cpu_backend(cpu));
        return std::unique_ptr<Backend>(std::make_unique<StandIn>(std::move(backend), bend));
      });
}

std::ostream& operator<<(std::ostream& out, const SelfCheckReport& report) {
  return out << "worst " << report.worst << ", limit " << report.limit << ", rounding "
             << report.rounding << ", contrast " << report.contrast << " " << report.refusal;
}

void expect_pass(const ModelCard& card, const SelfCheckOptions& options, const Bend& bend = {}) {
  const auto report = check(card, options, bend);
  ASSERT_TRUE(report.ok()) << report.status().to_string();
  EXPECT_EQ(report->refusal, "");
  std::cout << *report << "\n";
}

// Refused with these words.
void expect_refused(const ModelCard& card, const SelfCheckOptions& options, const Bend& bend,
                    const std::string& words) {
  const auto report = check(card, options, bend);
  ASSERT_TRUE(report.ok()) << report.status().to_string();
  std::cout << *report << "\n";
  EXPECT_NE(report->refusal.find(words), std::string::npos) << "not: " << words;
}

constexpr SelfCheckOptions kBf16 = {Dtype::bf16, 32};
constexpr const char* kDiffers = "log-probabilities differ by up to";

// --- bends

Bend with_shape(std::function<void(ModelShape&)> shape) {
  Bend bend;
  bend.shape = std::move(shape);
  return bend;
}

Bend scaled_attention(float factor) {
  Bend bend;
  bend.attention = [factor](AttentionOptions& options) { options.scale *= factor; };
  return bend;
}

Bend bent_rope(std::function<void(RopeOptions&)> rope) {
  Bend bend;
  bend.rope = std::move(rope);
  return bend;
}

// The first head of every layer attends to everything alike.
Bend blind_head(int32_t head_dim, int32_t n_layers) {
  Bend bend;
  bend.tensor = [head_dim, n_layers](const TensorView& tensor, std::vector<uint8_t>& bytes) {
    for (int32_t i = 0; i < n_layers; ++i) {
      if (tensor.name != "blk." + std::to_string(i) + ".attn_q.weight") continue;
      const size_t row_bytes = bytes.size() / static_cast<size_t>(tensor.rows);
      std::fill_n(bytes.begin(), row_bytes * static_cast<size_t>(head_dim), uint8_t{0});
    }
  };
  return bend;
}

// Decoding loses the sum of one split of a long sequence: four blocks of zeros are in its place.
Bend lost_split(size_t split) {
  Bend bend;
  bend.step = [split](auto&, auto& tables, auto& sequences) {
    const auto zeros = static_cast<int32_t>(tables[0].size() + tables[1].size());
    for (size_t i = 0; i < sequences.size(); ++i) {
      std::vector<int32_t>& table = tables[i];
      if (sequences[i].n_rows > 1 || table.size() < 4) continue;
      for (size_t b = 4 * split; b < 4 * split + 4 && b + 1 < table.size(); ++b) table[b] = zeros;
    }
  };
  return bend;
}

Bend bent_choice(std::function<void(SampleRow&, SamplingParams&)> choice) {
  Bend bend;
  bend.choice = std::move(choice);
  return bend;
}

// ---

std::shared_ptr<const ModelCard> tiny_card(TensorType type = TensorType::q4_1) {
  testing::TinyModelOptions options;
  options.type = type;
  return testing::tiny_model_card(options);
}

std::shared_ptr<const ModelCard> real_card() {
  const char* path = std::getenv("PARKD_TEST_MODEL");
  return path != nullptr ? load_model_card(path).value() : nullptr;
}

TEST(SelfCheck, right_backend_passes_with_every_type_and_block_size) {
  for (const TensorType type : {TensorType::f32, TensorType::q4_1, TensorType::q8_0}) {
    for (const Dtype dtype : {Dtype::f32, Dtype::f16, Dtype::bf16}) {
      expect_pass(*tiny_card(type), {dtype, 32});
    }
  }
  expect_pass(*tiny_card(), {Dtype::bf16, 256});
}

TEST(SelfCheck, wrong_rotation_or_scale_or_norm_is_refused) {
  const auto card = tiny_card();
  const auto other_rotation = [](ModelShape& shape) {
    RopeLayout& layout = shape.ropes[0].layout;
    layout = layout == RopeLayout::interleaved ? RopeLayout::split_half : RopeLayout::interleaved;
  };
  for (const Dtype dtype : {Dtype::f32, Dtype::f16, Dtype::bf16}) {
    const SelfCheckOptions options = {dtype, 32};
    expect_refused(*card, options, with_shape(other_rotation), kDiffers);
    expect_refused(*card, options, scaled_attention(1.1F), kDiffers);
    expect_refused(*card, options, with_shape([](ModelShape& shape) { shape.rms_eps = 0.1F; }),
                   kDiffers);
  }
  expect_refused(*card, {Dtype::f32, 32}, scaled_attention(1.01F), kDiffers);
}

TEST(SelfCheck, norms_of_heads_are_checked) {
  testing::TinyModelOptions options;
  options.architecture = "qwen3";
  options.type = TensorType::q4_1;
  const auto card = testing::tiny_model_card(options);
  for (const Dtype dtype : {Dtype::f32, Dtype::f16, Dtype::bf16}) {
    const SelfCheckOptions how = {dtype, 32};
    expect_pass(*card, how);
    expect_refused(*card, how, bent_rope([](RopeOptions& rope) { rope.q_norm = {}; }), kDiffers);
    expect_refused(*card, how, bent_rope([](RopeOptions& rope) { rope.k_norm = {}; }), kDiffers);
    expect_refused(*card, how,
                   bent_rope([](RopeOptions& rope) { std::swap(rope.q_norm, rope.k_norm); }),
                   kDiffers);
    expect_refused(*card, how, bent_rope([](RopeOptions& rope) { rope.rope = kNoRope; }), kDiffers);
  }
}

TEST(SelfCheck, biases_and_scales_of_queries_are_checked) {
  testing::TinyModelOptions options;
  options.type = TensorType::q4_1;
  options.architecture = "qwen2";
  const auto biased = testing::tiny_model_card(options);
  options.architecture = "ministral3";
  const auto scaled = testing::tiny_model_card(options);
  for (const Dtype dtype : {Dtype::f32, Dtype::f16, Dtype::bf16}) {
    const SelfCheckOptions how = {dtype, 32};
    expect_pass(*biased, how);
    expect_refused(*biased, how, bent_rope([](RopeOptions& rope) {
      rope.q_bias = rope.k_bias = rope.v_bias = {};
    }),
                   kDiffers);
    expect_refused(*biased, how,
                   bent_rope([](RopeOptions& rope) { std::swap(rope.k_bias, rope.v_bias); }),
                   kDiffers);
    expect_pass(*scaled, how);
    expect_refused(*scaled, how, bent_rope([](RopeOptions& rope) { rope.query_scale = {}; }),
                   kDiffers);
  }
}

TEST(SelfCheck, how_far_heads_turn_and_how_large_they_become_is_checked) {
  testing::TinyModelOptions options;
  options.type = TensorType::q4_1;
  options.architecture = "phi3";
  options.n_turned = 12;
  options.rope_scaling = "longrope";
  const auto card = testing::tiny_model_card(options);
  for (const Dtype dtype : {Dtype::f32, Dtype::f16, Dtype::bf16}) {
    const SelfCheckOptions how = {dtype, 32};
    expect_pass(*card, how);
    expect_refused(*card, how, with_shape([](ModelShape& shape) { shape.ropes[0].amplitude = 1; }),
                   kDiffers);
    expect_refused(*card, how,
                   with_shape([](ModelShape& shape) { shape.ropes[0].inv_freq.back() = 0.5F; }),
                   kDiffers);
  }
}

TEST(SelfCheck, one_wrong_head_or_a_lost_split_is_refused) {
  const auto card = tiny_card();
  expect_refused(*card, kBf16, blind_head(card->shape.head_dim, 1), kDiffers);
  for (const size_t split : {0, 1, 2}) expect_refused(*card, kBf16, lost_split(split), kDiffers);
}

TEST(SelfCheck, token_fed_back_wrongly_is_refused) {
  const auto card = tiny_card();
  Bend other_row;
  other_row.fed_back = [](int32_t row) { return 1 - row; };
  expect_refused(*card, kBf16, other_row, kDiffers);
  Bend late;
  late.fed_back_steps_ago = 2;
  expect_refused(*card, kBf16, late, kDiffers);
  Bend none;
  none.ahead = 0;
  none.fed_back = [](int32_t) -> int32_t {
    ADD_FAILURE() << "known already";
    return 0;
  };
  expect_pass(*card, kBf16, none);
}

// A step that only decodes answers from the third time on as the time before.
TEST(SelfCheck, replay_with_the_step_before_is_refused) {
  Bend bend;
  int32_t n_decodes = 0;
  std::vector<TokenId> before;
  bend.step = [&](std::vector<TokenId>& tokens, auto&, auto& sequences) {
    if (tokens.size() != sequences.size()) return;
    const std::vector<TokenId> now = tokens;
    if (++n_decodes >= 3) tokens = before;
    before = now;
  };
  expect_refused(*tiny_card(), kBf16, bend, kDiffers);
}

TEST(SelfCheck, sampler_that_ignores_one_parameter_is_refused) {
  const auto card = tiny_card();
  const auto refuse = [&](auto ignore) {
    expect_refused(*card, kBf16, bent_choice(ignore), "its choices are not those of its logits");
  };
  refuse([](SampleRow&, SamplingParams& params) { params.top_k = 0; });
  refuse([](SampleRow&, SamplingParams& params) { params.top_p = 1; });
  refuse([](SampleRow&, SamplingParams& params) { params.min_p = 0; });
  refuse([](SampleRow&, SamplingParams& params) { params.seed &= 0xffffffff; });
  refuse([](SampleRow&, SamplingParams& params) { params.seed >>= 32; });
  refuse([](SampleRow&, SamplingParams& params) {
    if (params.temperature < 1) params.temperature = 1;
  });
  refuse([](SampleRow&, SamplingParams& params) {
    if (params.temperature > 0 && params.temperature < 1) params.temperature = 1;
  });
  refuse([](SampleRow& row, SamplingParams&) { row.choice_index = 0; });
  refuse([](SampleRow& row, SamplingParams&) { row.position = 0; });
}

// Where logits cannot be read back, the token must be among the best.
TEST(SelfCheck, decoded_token_that_is_not_among_the_best_is_refused) {
  Bend bend;
  bend.chosen = [](std::vector<SampledToken>& chosen) {
    if (chosen.size() == 2) chosen[0].token = chosen[0].top[1].token;
  };
  expect_refused(*tiny_card(), kBf16, bend, "a decoded token is not among the best 1");
}

TEST(SelfCheck, wrong_or_missing_log_probability_is_refused) {
  Bend chosen;
  chosen.chosen = [](std::vector<SampledToken>& rows) { rows.back().logprob += 0.01F; };
  expect_refused(*tiny_card(), kBf16, chosen, "the log-probabilities are not those of its logits");
  Bend top;
  top.chosen = [](std::vector<SampledToken>& rows) { rows.back().top.pop_back(); };
  expect_refused(*tiny_card(), kBf16, top, "the log-probabilities are not those of its logits");
}

TEST(SelfCheck, row_without_a_token_is_refused) {
  Bend bend;
  bend.chosen = [](std::vector<SampledToken>& rows) { rows.back() = {-1, 0, {}}; };
  expect_refused(*tiny_card(), kBf16, bend, "a row got no token");
}

TEST(SelfCheck, backend_that_cannot_be_made_is_an_error_and_no_refusal) {
  const auto report = check_against_cpu(*tiny_card(), kBf16,
                                        [](const ModelShape&) -> Result<std::unique_ptr<Backend>> {
                                          return unavailable("no CUDA device");
                                        });
  EXPECT_EQ(report.status().message(), "no CUDA device");
}

TEST(SelfCheck, real_model_passes_and_its_bent_twin_does_not) {
  const auto card = real_card();
  if (card == nullptr) GTEST_SKIP() << "SKIPPED LOUDLY: PARKD_TEST_MODEL is not set";
  expect_pass(*card, kBf16);
  expect_refused(*card, kBf16, scaled_attention(1.1F), kDiffers);
}

}  // namespace
}  // namespace parkd
