// Paged attention against a softmax in double, and I7: however the queries are cut into calls, the
// same bits.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <vector>

#include "kernels/cpu/half.h"
#include "tests/support/random_data.h"

namespace parkd {
namespace {

struct Shape {
  int32_t n_heads;  // of one kv head
  int32_t head_dim;
  int32_t block_size;
  int32_t n_tokens;
};

// One kv head of one sequence: its queries, keys and values, and its KV memory.
struct Scene {
  Shape shape;
  cpu::KvType type;
  std::vector<float> q, k, v;  // (n_tokens, n_heads * head_dim), (n_tokens, head_dim) twice
  std::vector<uint8_t> memory;
  std::vector<int32_t> block_table;
  cpu::KvView kv;

  Scene(std::mt19937_64& random, const Shape& scene_shape, cpu::KvType kv_type)
      : shape(scene_shape), type(kv_type) {
    q = testing::random_floats(random, int64_t{shape.n_tokens} * row_floats());
    k = testing::random_floats(random, int64_t{shape.n_tokens} * shape.head_dim);
    v = testing::random_floats(random, int64_t{shape.n_tokens} * shape.head_dim);
    const auto n_blocks = cpu::ceil_div(shape.n_tokens, shape.block_size);
    block_table.resize(static_cast<size_t>(n_blocks));
    std::iota(block_table.begin(), block_table.end(), 1);
    std::shuffle(block_table.begin(), block_table.end(), random);
    const int64_t half_block =
        int64_t{shape.block_size} * shape.head_dim * cpu::kv_element_bytes(type);
    // All ones is NaN in every type: memory left by a former owner may be anything.
    memory.assign(static_cast<size_t>(2 * half_block * (n_blocks + 1)), 0xFF);
    kv.type = type;
    kv.k = memory.data();
    kv.v = memory.data() + half_block;
    kv.block_stride_bytes = 2 * half_block;
    kv.block_table = block_table.data();
    kv.block_size = shape.block_size;
    kv.head_dim = shape.head_dim;
  }
  Scene(const Scene&) = delete;
  Scene& operator=(const Scene&) = delete;

  int64_t row_floats() const { return int64_t{shape.n_heads} * shape.head_dim; }

  void store(const cpu::CpuKernels& kernels, int32_t first, int32_t last) {
    for (int32_t t = first; t < last; ++t) {
      if (t % cpu::kKvTile == 0) kernels.clear_values(kv, t);
      kernels.store_kv(kv, t, k.data() + int64_t{t} * shape.head_dim,
                       v.data() + int64_t{t} * shape.head_dim);
    }
  }

  // Attention of tokens [first, last) into out (n_tokens, n_heads * head_dim).
  void attend(const cpu::CpuKernels& kernels, int32_t first, int32_t last,
              std::vector<float>& out) const {
    std::vector<float> workspace(cpu::attention_workspace_bytes(shape.n_heads, shape.head_dim) /
                                 sizeof(float));
    const int32_t most = std::max(1, cpu::kAttentionRowsMax / shape.n_heads);
    for (int32_t at = first; at < last; at += most) {
      cpu::AttentionArgs args;
      args.kv = kv;
      args.q = q.data() + at * row_floats();
      args.q_stride = row_floats();
      args.out = out.data() + at * row_floats();
      args.out_stride = row_floats();
      args.n_queries = std::min(most, last - at);
      args.group = shape.n_heads;
      args.first_position = at;
      args.scale = 1.0F / std::sqrt(static_cast<float>(shape.head_dim));
      args.workspace = workspace.data();
      kernels.attention(args);
    }
  }

  double stored(float x) const {
    switch (type) {
      case cpu::KvType::f16:
        return static_cast<double>(cpu::f16_to_float(cpu::float_to_f16(x)));
      case cpu::KvType::bf16:
        return static_cast<double>(cpu::bf16_to_float(cpu::float_to_bf16(x)));
      case cpu::KvType::f32:
        break;
    }
    return static_cast<double>(x);
  }

  std::vector<double> reference(int32_t token, int32_t head) const {
    const double scale = 1.0 / std::sqrt(static_cast<double>(shape.head_dim));
    const auto dim = static_cast<size_t>(shape.head_dim);
    const float* query = q.data() + token * row_floats() + head * shape.head_dim;
    std::vector<double> score(static_cast<size_t>(token) + 1);
    for (size_t t = 0; t < score.size(); ++t) {
      for (size_t d = 0; d < dim; ++d) {
        score[t] += static_cast<double>(query[d]) * scale * stored(k[t * dim + d]);
      }
    }
    const double top = *std::max_element(score.begin(), score.end());
    double sum = 0;
    std::vector<double> out(dim);
    for (size_t t = 0; t < score.size(); ++t) {
      const double p = std::exp(score[t] - top);
      sum += p;
      for (size_t d = 0; d < dim; ++d) out[d] += p * stored(v[t * dim + d]);
    }
    for (double& x : out) x /= sum;
    return out;
  }
};

constexpr Shape kShapes[] = {
    {3, 64, 32, 1},   {3, 64, 32, 33}, {4, 80, 64, 70},  {1, 96, 256, 300},
    {4, 128, 96, 97}, {1, 16, 32, 64}, {7, 256, 32, 65}, {64, 64, 32, 40},
};
constexpr cpu::KvType kTypes[] = {cpu::KvType::f32, cpu::KvType::f16, cpu::KvType::bf16};

TEST(Attention, equals_the_softmax_in_double) {
  std::mt19937_64 random(testing::fresh_seed());
  for (const cpu::Isa isa : testing::available_isas()) {
    const cpu::CpuKernels& kernels = cpu::kernels_of(isa);
    for (const cpu::KvType type : kTypes) {
      for (const Shape& shape : kShapes) {
        Scene scene(random, shape, type);
        std::vector<float> out(scene.q.size());
        scene.store(kernels, 0, shape.n_tokens);
        scene.attend(kernels, 0, shape.n_tokens, out);
        // Values are of size 1. f32 and f16: float sums of at most 300 terms. bf16 also rounds the
        // query and the probabilities to 8 bits: scores of size 4 move by 4 * 2^-8 at most.
        const double bound = type == cpu::KvType::bf16 ? 3e-2 : 1e-5;
        for (int32_t token = 0; token < shape.n_tokens; ++token) {
          for (int32_t head = 0; head < shape.n_heads; ++head) {
            const std::vector<double> wanted = scene.reference(token, head);
            const float* got = out.data() + token * scene.row_floats() + head * shape.head_dim;
            for (size_t d = 0; d < wanted.size(); ++d) {
              ASSERT_NEAR(static_cast<double>(got[d]), wanted[d], bound)
                  << cpu::to_string(isa) << " type " << static_cast<int>(type) << " head_dim "
                  << shape.head_dim << " token " << token << " head " << head << " dim " << d;
            }
          }
        }
      }
    }
  }
}

TEST(Attention, whole_prompt_chunks_and_single_tokens_have_the_same_bits) {
  std::mt19937_64 random(testing::fresh_seed());
  for (const cpu::Isa isa : testing::available_isas()) {
    const cpu::CpuKernels& kernels = cpu::kernels_of(isa);
    for (const cpu::KvType type : kTypes) {
      for (const Shape& shape : kShapes) {
        Scene scene(random, shape, type);
        const std::vector<uint8_t> untouched = scene.memory;
        std::vector<float> whole(scene.q.size());
        scene.store(kernels, 0, shape.n_tokens);
        scene.attend(kernels, 0, shape.n_tokens, whole);
        for (const int32_t chunk : {1, 5, 32, 61}) {
          std::copy(untouched.begin(), untouched.end(), scene.memory.begin());
          std::vector<float> out(scene.q.size());
          for (int32_t at = 0; at < shape.n_tokens; at += chunk) {
            const int32_t last = std::min(at + chunk, shape.n_tokens);
            scene.store(kernels, at, last);
            scene.attend(kernels, at, last, out);
          }
          ASSERT_EQ(std::memcmp(out.data(), whole.data(), out.size() * sizeof(float)), 0)
              << cpu::to_string(isa) << " type " << static_cast<int>(type) << " head_dim "
              << shape.head_dim << " chunk " << chunk;
        }
      }
    }
  }
}

TEST(Attention, instruction_sets_agree_bit_for_bit_on_f32_and_f16) {
  std::mt19937_64 random(testing::fresh_seed());
  for (const cpu::KvType type : {cpu::KvType::f32, cpu::KvType::f16}) {
    for (const Shape& shape : kShapes) {
      Scene scene(random, shape, type);
      std::vector<float> wanted(scene.q.size());
      scene.store(cpu::kernels_of(cpu::Isa::scalar), 0, shape.n_tokens);
      scene.attend(cpu::kernels_of(cpu::Isa::scalar), 0, shape.n_tokens, wanted);
      for (const cpu::Isa isa : testing::available_isas()) {
        std::vector<float> out(scene.q.size());
        scene.attend(cpu::kernels_of(isa), 0, shape.n_tokens, out);
        EXPECT_EQ(out, wanted) << cpu::to_string(isa);
      }
    }
  }
}

TEST(Attention, scores_far_apart_neither_overflow_nor_vanish) {
  std::mt19937_64 random(testing::fresh_seed());
  for (const cpu::Isa isa : testing::available_isas()) {
    const cpu::CpuKernels& kernels = cpu::kernels_of(isa);
    Scene scene(random, {1, 64, 32, 70}, cpu::KvType::f32);
    for (float& x : scene.q) x *= 100;  // scores of some hundreds
    std::vector<float> out(scene.q.size());
    scene.store(kernels, 0, 70);
    scene.attend(kernels, 0, 70, out);
    for (int32_t token = 0; token < 70; ++token) {
      const std::vector<double> wanted = scene.reference(token, 0);
      for (size_t d = 0; d < wanted.size(); ++d) {
        // Scores of 400 are known to 400 * 2^-24 * 64 terms.
        ASSERT_NEAR(static_cast<double>(out[static_cast<size_t>(token) * 64 + d]), wanted[d], 1e-2);
      }
    }
  }
}

}  // namespace
}  // namespace parkd
