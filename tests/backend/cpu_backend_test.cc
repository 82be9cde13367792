// The CPU backend through its interface: what it refuses, and I7 for whole steps - team sizes,
// lanes, neighbours and chunks give the same bits.
#include "lib/backend/cpu/cpu_backend.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <thread>
#include <vector>

#include "lib/weights/formats.h"
#include "tests/support/random_data.h"

namespace parkd {
namespace {

constexpr int32_t kBlockSize = 32;
constexpr int64_t kBlocks = 64;

ModelShape small_shape() {
  ModelShape shape;
  shape.n_layers = 2;
  shape.hidden = 96;
  shape.ffn = 160;
  shape.n_heads = 6;
  shape.n_kv_heads = 2;
  shape.head_dim = 32;
  shape.vocab = 211;  // odd: the last panel is not full
  shape.context_tokens = 512;
  shape.rms_eps = 1e-5F;
  // Two rotations, which the layers take turns with.
  for (const RopeLayout layout : {RopeLayout::interleaved, RopeLayout::split_half}) {
    Rope& rope = shape.ropes.emplace_back();
    rope.layout = layout;
    const double base = layout == RopeLayout::interleaved ? 1e4 : 1e6;
    for (int i = 0; i < 16; ++i) {
      rope.inv_freq.push_back(static_cast<float>(std::pow(base, -i / 16.0)));
    }
  }
  return shape;
}

// A tensor with its bytes.
struct Tensor {
  std::vector<uint8_t> bytes;
  TensorView view;

  Tensor(std::mt19937_64& random, TensorType type, int64_t rows, int64_t columns)
      : bytes(testing::random_tensor(random, type, rows, columns)),
        view{"blk.0.test", type, rows, columns, bytes} {}
  Tensor(const Tensor&) = delete;
  Tensor& operator=(const Tensor&) = delete;
};

// Two layers with random weights of several types, the fused products of mixed parts; the second
// with norms of heads.
class SmallModel {
 public:
  SmallModel(uint64_t seed, cpu::Isa isa, Dtype dtype, int32_t team_size) : shape_(small_shape()) {
    CpuBackendOptions options;
    options.shape = shape_;
    options.dtype = dtype;
    options.isa = isa;
    options.team_size = team_size;
    backend_ = make_cpu_backend(options).value();
    std::mt19937_64 random(seed);
    const int32_t q = shape_.n_heads * shape_.head_dim;
    const int32_t kv = shape_.n_kv_heads * shape_.head_dim;
    embedding_ = load(random, {{TensorType::q8_0, shape_.vocab}}, shape_.hidden);
    for (int32_t i = 0; i < shape_.n_layers; ++i) {
      qkv_.push_back(load(random,
                          {{TensorType::q4_1, q}, {TensorType::q8_0, kv}, {TensorType::bf16, kv}},
                          shape_.hidden));
      out_.push_back(load(random, {{TensorType::q4_0, shape_.hidden}}, q));
      gate_up_.push_back(load(
          random, {{TensorType::q4_1, shape_.ffn}, {TensorType::f16, shape_.ffn}}, shape_.hidden));
      down_.push_back(load(random, {{TensorType::q4_1, shape_.hidden}}, shape_.ffn));
      const Tensor norm(random, TensorType::f32, 1, shape_.hidden);
      norm_.push_back(backend_->load_vector(norm.view).value());
      const Tensor head_norm(random, TensorType::f32, 1, shape_.head_dim);
      head_norm_.push_back(backend_->load_vector(head_norm.view).value());
    }
    EXPECT_TRUE(backend_->allocate_kv(kBlocks, kBlockSize).ok());
  }

  struct Sequence {
    std::vector<TokenId> tokens;
    std::vector<int32_t> block_table;
  };

  class Run {
   public:
    Run(SmallModel& model, int64_t rows_max)
        : model_(model), lane_(model.backend_->make_lane().value()) {
      const ModelShape& s = model.shape_;
      residual_ = lane_->make_buffer(rows_max, s.hidden);
      normed_ = lane_->make_buffer(rows_max, s.hidden);
      qkv_ = lane_->make_buffer(rows_max, (s.n_heads + 2 * s.n_kv_heads) * s.head_dim);
      attended_ = lane_->make_buffer(rows_max, s.n_heads * s.head_dim);
      gate_up_ = lane_->make_buffer(rows_max, 2 * s.ffn);
      activated_ = lane_->make_buffer(rows_max, s.ffn);
      sampled_ = lane_->make_buffer(rows_max, s.hidden);
      logits_ = lane_->make_buffer(rows_max, s.vocab);
    }

    // Logits of every row of a step in which sequence i goes on from `from[i]` by `n[i]` tokens.
    std::vector<std::vector<float>> step(const std::vector<Sequence>& sequences,
                                         const std::vector<int32_t>& from,
                                         const std::vector<int32_t>& n) {
      std::vector<TokenId> tokens;
      std::vector<StepSequence> steps;
      for (size_t i = 0; i < sequences.size(); ++i) {
        if (n[i] == 0) continue;
        steps.push_back(
            {static_cast<int32_t>(tokens.size()), n[i], from[i], sequences[i].block_table});
        const auto first = sequences[i].tokens.begin() + from[i];
        tokens.insert(tokens.end(), first, first + n[i]);
      }
      std::vector<int32_t> rows(tokens.size());
      std::iota(rows.begin(), rows.end(), 0);
      lane_->begin_step({tokens, steps, rows});
      lane_->embed(model_.embedding_, 1, residual_);
      for (int32_t i = 0; i < model_.shape_.n_layers; ++i) {
        const auto layer = static_cast<size_t>(i);
        lane_->rms_norm(residual_, model_.norm_[layer], normed_);
        lane_->matmul(model_.qkv_[layer], normed_, qkv_);
        RopeOptions rope;
        rope.rope = i;
        if (i == 1) rope.q_norm = rope.k_norm = model_.head_norm_[layer];
        lane_->rope_and_store(i, rope, qkv_);
        lane_->attention(i, {1.0F / std::sqrt(32.0F), i == 1 ? 9 : 0}, qkv_, attended_);
        lane_->matmul_add(model_.out_[layer], attended_, residual_);
        lane_->rms_norm(residual_, model_.norm_[layer], normed_);
        lane_->matmul(model_.gate_up_[layer], normed_, gate_up_);
        lane_->gate_mul(i == 1 ? Activation::gelu_tanh : Activation::silu, gate_up_, activated_);
        lane_->matmul_add(model_.down_[layer], activated_, residual_);
      }
      lane_->gather_logit_rows(residual_, sampled_);
      lane_->matmul(model_.embedding_, sampled_, logits_);
      std::vector<std::vector<float>> out;
      for (size_t row = 0; row < rows.size(); ++row) {
        out.emplace_back(static_cast<size_t>(model_.shape_.vocab));
        lane_->read_row(logits_, static_cast<int64_t>(row), out.back());
      }
      lane_->end_step();
      EXPECT_TRUE(lane_->collect({}).ok());
      return out;
    }

    // Logits after each token of `sequence`, given in chunks.
    std::vector<std::vector<float>> whole(const Sequence& sequence, int32_t chunk) {
      std::vector<std::vector<float>> out;
      const auto n_tokens = static_cast<int32_t>(sequence.tokens.size());
      for (int32_t at = 0; at < n_tokens; at += chunk) {
        for (auto& row : step({sequence}, {at}, {std::min(chunk, n_tokens - at)})) {
          out.push_back(std::move(row));
        }
      }
      return out;
    }

   private:
    SmallModel& model_;
    std::unique_ptr<Lane> lane_;
    Buffer residual_, normed_, qkv_, attended_, gate_up_, activated_, sampled_, logits_;
  };

  const ModelShape& shape() const { return shape_; }
  Backend& backend() { return *backend_; }

 private:
  struct Part {
    TensorType type;
    int64_t rows;
  };

  MatrixId load(std::mt19937_64& random, const std::vector<Part>& parts, int64_t columns) {
    std::vector<std::unique_ptr<Tensor>> tensors;
    std::vector<TensorView> views;
    for (const Part& part : parts) {
      tensors.push_back(std::make_unique<Tensor>(random, part.type, part.rows, columns));
      views.push_back(tensors.back()->view);
    }
    return backend_->load_matrix(views).value();
  }

  ModelShape shape_;
  std::unique_ptr<Backend> backend_;
  MatrixId embedding_;
  std::vector<MatrixId> qkv_, out_, gate_up_, down_;
  std::vector<VectorId> norm_, head_norm_;
};

// Sequence i of `n_tokens` on blocks of its own.
SmallModel::Sequence make_sequence(uint64_t seed, int32_t index, int32_t n_tokens) {
  std::mt19937_64 random(seed + static_cast<uint64_t>(index));
  SmallModel::Sequence sequence;
  for (int32_t i = 0; i < n_tokens; ++i) {
    sequence.tokens.push_back(static_cast<TokenId>(random() % 211));
  }
  for (int32_t b = 0; b < 4; ++b) sequence.block_table.push_back((index * 4 + 3 - b) % 64);
  return sequence;
}

bool same_bits(const std::vector<std::vector<float>>& a, const std::vector<std::vector<float>>& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (std::memcmp(a[i].data(), b[i].data(), a[i].size() * sizeof(float)) != 0) return false;
  }
  return true;
}

constexpr Dtype kDtypes[] = {Dtype::f32, Dtype::f16, Dtype::bf16};

TEST(CpuBackend, chunks_teams_and_neighbours_leave_the_bits_alone) {
  const uint64_t seed = testing::fresh_seed();
  for (const cpu::Isa isa : testing::available_isas()) {
    for (const Dtype dtype : kDtypes) {
      SmallModel alone(seed, isa, dtype, 1);
      const SmallModel::Sequence sequence = make_sequence(seed, 0, 70);
      const auto wanted = SmallModel::Run(alone, 70).whole(sequence, 70);
      for (const auto& row : wanted) ASSERT_TRUE(std::isfinite(row[5]));
      ASSERT_FALSE(same_bits({wanted[3]}, {wanted[40]}));
      for (const int32_t chunk : {1, 13, 32, 64}) {
        EXPECT_TRUE(same_bits(SmallModel::Run(alone, 70).whole(sequence, chunk), wanted))
            << alone.backend().describe() << " chunk " << chunk;
      }
      for (const int32_t team_size : {2, 3}) {
        SmallModel team(seed, isa, dtype, team_size);
        EXPECT_TRUE(same_bits(SmallModel::Run(team, 70).whole(sequence, 70), wanted))
            << alone.backend().describe() << " team of " << team_size;
      }
      // The last tokens decoded one by one beside seven others, each at its own position.
      SmallModel::Run run(alone, 600);
      std::vector<SmallModel::Sequence> all = {sequence};
      std::vector<int32_t> from = {0};
      std::vector<int32_t> n = {50};
      for (int32_t i = 1; i < 8; ++i) {
        all.push_back(make_sequence(seed, i, 100));
        from.push_back(0);
        n.push_back(5 * i);
      }
      auto got = run.step(all, from, n);
      got.resize(50);
      for (int32_t token = 50; token < 70; ++token) {
        for (size_t i = 0; i < all.size(); ++i) {
          from[i] += n[i];
          n[i] = 1;
        }
        got.push_back(run.step(all, from, n)[0]);
      }
      EXPECT_TRUE(same_bits(got, wanted)) << alone.backend().describe() << " with neighbours";
    }
  }
}

TEST(CpuBackend, two_lanes_at_once_give_what_each_gives_alone) {
  const uint64_t seed = testing::fresh_seed();
  const cpu::Isa isa = cpu::detect_isa();
  SmallModel model(seed, isa, Dtype::bf16, 2);
  std::vector<SmallModel::Sequence> sequences;
  std::vector<std::vector<std::vector<float>>> wanted;
  for (int32_t i = 0; i < 2; ++i) {
    sequences.push_back(make_sequence(seed, i, 60));
    wanted.push_back(SmallModel::Run(model, 60).whole(sequences.back(), 60));
  }
  std::vector<std::vector<std::vector<float>>> got(2);
  {
    std::vector<std::thread> threads;
    for (size_t i = 0; i < 2; ++i) {
      threads.emplace_back([&, i] { got[i] = SmallModel::Run(model, 60).whole(sequences[i], 7); });
    }
    for (std::thread& thread : threads) thread.join();
  }
  for (size_t i = 0; i < 2; ++i) EXPECT_TRUE(same_bits(got[i], wanted[i])) << "lane " << i;
}

TEST(CpuBackend, samples_rows_and_marks_only_the_broken_one) {
  CpuBackendOptions options;
  options.shape = small_shape();
  options.team_size = 2;
  auto backend = make_cpu_backend(options).value();
  // "Logits" straight from the embedding table: row 1 is NaN.
  std::vector<float> table(211 * 96);
  std::iota(table.begin(), table.end(), 0.0F);
  for (size_t i = 96; i < 192; ++i) table[i] = std::nanf("");
  std::vector<uint8_t> bytes(table.size() * 4);
  std::memcpy(bytes.data(), table.data(), bytes.size());
  const TensorView view = {"token_embd.weight", TensorType::f32, 211, 96, bytes};
  const MatrixId id = backend->load_matrix({&view, 1}).value();
  ASSERT_TRUE(backend->allocate_kv(8, kBlockSize).ok());
  auto lane = backend->make_lane().value();
  const Buffer logits = lane->make_buffer(3, 96);
  const std::vector<TokenId> tokens = {0, 1, 2};
  const std::vector<int32_t> blocks = {0};
  const StepSequence sequence = {0, 3, 0, blocks};
  lane->begin_step({tokens, {&sequence, 1}, {}});
  lane->embed(id, 1, logits);
  SamplingParams params;
  params.temperature = 0;
  const std::vector<SampleRow> rows(3, SampleRow{&params, 0, 0});
  std::vector<SampledToken> out(3);
  lane->sample(logits, rows);
  ASSERT_TRUE(lane->collect(out).ok());
  // bf16 keeps 8 bits: 95 is exact; in row 2 the last values round to the same and the lowest wins.
  EXPECT_EQ(out[0].token, 95);
  EXPECT_EQ(out[1].token, -1);
  EXPECT_GE(out[2].token, 0);
}

TEST(CpuBackend, refuses_what_the_kernels_cannot_do_and_names_it) {
  std::mt19937_64 random(1);
  CpuBackendOptions options;
  options.shape = small_shape();
  auto backend = make_cpu_backend(options).value();
  const auto refusal = [&](const TensorView& a, const TensorView& b) {
    const TensorView parts[] = {a, b};
    const auto result = backend->load_matrix(parts);
    EXPECT_FALSE(result.ok());
    return result.status().message();
  };
  const Tensor good(random, TensorType::q4_1, 16, 96);
  const Tensor narrow(random, TensorType::q4_1, 16, 64);
  EXPECT_NE(refusal(good.view, narrow.view).find("64 columns"), std::string::npos);
  TensorView odd = good.view;
  odd.columns = 80;
  EXPECT_NE(refusal(odd, odd).find("multiple of 32"), std::string::npos);
  TensorView cut = good.view;
  cut.bytes = cut.bytes.subspan(1);
  EXPECT_NE(refusal(cut, cut).find("bytes"), std::string::npos);
  TensorView unknown = good.view;
  unknown.type = static_cast<TensorType>(99);
  EXPECT_NE(refusal(unknown, unknown).find("type 99"), std::string::npos);
  for (const auto& [type, scale_at] : {std::pair{TensorType::q4_1, 2}, {TensorType::q6_k, 208}}) {
    Tensor infinite(random, type, 16, 512);
    const TensorFormat& format = format_of(type);
    const auto row_bytes = static_cast<size_t>(512 / format.block_elements * format.block_bytes);
    const uint16_t infinity = 0x7C00;
    std::memcpy(infinite.bytes.data() + 3 * row_bytes + static_cast<size_t>(format.block_bytes) +
                    static_cast<size_t>(scale_at),
                &infinity, 2);
    EXPECT_EQ(refusal(infinite.view, infinite.view),
              "tensor blk.0.test: the scale of its block of " + std::string(format.name) +
                  " at row 3, column " + std::to_string(format.block_elements) + " is not finite");
    infinite.view.first_row = 100;  // a part of the file's tensor
    EXPECT_NE(refusal(infinite.view, infinite.view).find("at row 103"), std::string::npos);
  }
  TensorView empty = good.view;
  empty.rows = 0;
  EXPECT_NE(refusal(empty, empty).find("size 0"), std::string::npos);
  EXPECT_FALSE(backend->load_matrix({}).ok());
  EXPECT_FALSE(backend->load_vector(good.view).ok());
  for (const int32_t block_size : {0, 16, 48, 288}) {
    EXPECT_FALSE(backend->allocate_kv(8, block_size).ok()) << block_size;
  }

  options.shape.head_dim = 24;
  EXPECT_FALSE(make_cpu_backend(options).ok());
  options.shape = small_shape();
  options.shape.n_kv_heads = 4;
  EXPECT_FALSE(make_cpu_backend(options).ok());
  options.shape = small_shape();
  options.shape.layers.resize(2);
  for (const int32_t rope : {-2, 2}) {
    options.shape.layers[1].rope = rope;
    EXPECT_NE(make_cpu_backend(options).status().message().find("layer 1 asks for rope " +
                                                                std::to_string(rope) + " of 2"),
              std::string::npos);
  }
  for (const int32_t rope : {kNoRope, 0, 1}) {
    options.shape.layers[1].rope = rope;
    EXPECT_TRUE(make_cpu_backend(options).ok()) << rope;
  }
  options.shape.ropes.clear();
  EXPECT_FALSE(make_cpu_backend(options).ok()) << "nothing to rotate by";
  options.shape = small_shape();
  options.team_size = 0;
  EXPECT_FALSE(make_cpu_backend(options).ok());
  options.team_size = 1;
  for (const cpu::Isa isa : {cpu::Isa::scalar, cpu::Isa::avx2, cpu::Isa::avx512}) {
    options.isa = isa;
    EXPECT_EQ(make_cpu_backend(options).ok(), cpu::isa_available(isa));
  }
}

TEST(CpuBackend, reports_its_sizes_and_name) {
  std::mt19937_64 random(1);
  CpuBackendOptions options;
  options.shape = small_shape();
  options.isa = cpu::Isa::scalar;
  auto backend = make_cpu_backend(options).value();
  EXPECT_EQ(backend->describe(), "cpu scalar bf16");
  const Tensor matrix(random, TensorType::q4_1, 64, 96);
  ASSERT_TRUE(backend->load_matrix({&matrix.view, 1}).ok());
  EXPECT_EQ(backend->weight_bytes(), static_cast<int64_t>(matrix.bytes.size()));
  ASSERT_TRUE(backend->allocate_kv(10, 64).ok());
  EXPECT_EQ(backend->kv_bytes(), 10 * 64 * 2 * 2 * 2 * 32 * 2);
  EXPECT_TRUE(cpu_isa_from_string("auto").ok());
  EXPECT_EQ(*cpu_isa_from_string("avx2"), CpuIsaChoice(cpu::Isa::avx2));
  EXPECT_FALSE(cpu_isa_from_string("sse9").ok());
}

}  // namespace
}  // namespace parkd
