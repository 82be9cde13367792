#include "kernels/cpu/measure.h"

#include <time.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <random>

namespace parkd::cpu {
namespace {

constexpr double kLeastSeconds = 0.15;  // of all repeats of a measurement
constexpr int kRepeatsMin = 5;

// This thread's own time: what other programs take of the core does not count.
double now_s() {
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

template <class Run>
Measured repeat(const Run& run, double ops, double bytes) {
  run();
  std::vector<double> times;
  double total = 0;
  while (static_cast<int>(times.size()) < kRepeatsMin || total < kLeastSeconds) {
    const double start = now_s();
    run();
    times.push_back(now_s() - start);
    total += times.back();
  }
  std::sort(times.begin(), times.end());
  Measured result;
  result.best_s = times.front();
  result.median_s = times[times.size() / 2];
  result.gop_per_s = ops / result.best_s * 1e-9;
  result.gb_per_s = bytes / result.best_s * 1e-9;
  return result;
}

// 64-byte aligned memory of random bytes that make finite numbers in every type.
class Bytes {
 public:
  explicit Bytes(int64_t n) : storage_(new uint8_t[static_cast<size_t>(n) + 64]) {
    std::mt19937 random(1);
    auto* at = data();
    for (int64_t i = 0; i < n; ++i) at[i] = static_cast<uint8_t>(random() & 0x2F);
  }
  uint8_t* data() const {
    return storage_.get() + (64 - reinterpret_cast<uintptr_t>(storage_.get()) % 64) % 64;
  }

 private:
  std::unique_ptr<uint8_t[]> storage_;
};

}  // namespace

double measure_dot_peak_gop_per_s(Isa isa) {
  const CpuKernels& kernels = kernels_of(isa);
  const int64_t rounds = isa == Isa::scalar ? 2000 : 200000;
  const auto ops = static_cast<double>(kernels.run_dots(rounds));
  return repeat([&] { kernels.run_dots(rounds); }, ops, 0).gop_per_s;
}

double measure_read_gb_per_s() {
  const int64_t n = int64_t{256} << 20;
  const Bytes bytes(n);
  uint64_t sum = 0;
  const Measured result = repeat(
      [&] {
        uint64_t lane[8] = {};
        for (int64_t i = 0; i < n; i += 64) {
          uint64_t words[8];
          std::memcpy(words, bytes.data() + i, 64);
          for (int j = 0; j < 8; ++j) lane[j] += words[j];
        }
        for (const uint64_t x : lane) sum += x;
      },
      0, static_cast<double>(n));
  return sum == 1 ? 0 : result.gb_per_s;
}

Measured measure_matmul(Isa isa, PanelType type, int64_t m, int64_t k, int64_t n,
                        int64_t cold_bytes) {
  const CpuKernels& kernels = kernels_of(isa);
  const int64_t weight_bytes = panel_count(n) * panel_bytes(type, k);
  const int64_t copies = std::clamp<int64_t>(cold_bytes / weight_bytes, 1, 256);
  const Bytes weights(copies * weight_bytes);

  std::mt19937 random(2);
  std::normal_distribution<float> normal;
  std::vector<float> in(static_cast<size_t>(m * k));
  for (float& x : in) x = normal(random);
  std::vector<uint16_t> bf16(in.size());
  std::vector<int8_t> q8(in.size());
  std::vector<ActivationBlock> blocks(in.size() / kBlock);
  std::vector<float> out(static_cast<size_t>(m * row_stride(n)));

  MatmulArgs args;
  args.weight = {type, n, k, nullptr};
  args.in.f32 = in.data();
  args.in.bf16 = bf16.data();
  args.in.q8 = q8.data();
  args.in.blocks = blocks.data();
  args.in.f32_stride = args.in.bf16_stride = args.in.q8_stride = k;
  args.in.blocks_stride = k / kBlock;
  args.n_rows = m;
  args.last_panel = panel_count(n);
  args.out = out.data();
  args.out_stride = row_stride(n);
  int64_t copy = 0;
  const auto run = [&] {
    for (int64_t row = 0; row < m; ++row) {
      if (type == PanelType::bf16) {
        kernels.to_bf16(in.data() + row * k, k, bf16.data() + row * k);
      } else if (type != PanelType::f32) {
        kernels.quantise_row(in.data() + row * k, k, q8.data() + row * k,
                             blocks.data() + row * (k / kBlock));
      }
    }
    args.weight.panels = weights.data() + copy++ % copies * weight_bytes;
    kernels.matmul(args);
  };
  return repeat(run, 2.0 * static_cast<double>(m * k * n), static_cast<double>(weight_bytes));
}

Measured measure_attention(Isa isa, const AttentionShape& shape) {
  const CpuKernels& kernels = kernels_of(isa);
  const int32_t group = shape.n_heads / shape.n_kv_heads;
  const int64_t tokens = shape.context_tokens + shape.n_queries;
  const int64_t blocks_each = ceil_div(tokens, shape.block_size);
  const int64_t head_bytes = int64_t{shape.block_size} * shape.head_dim * 2;
  const int64_t block_bytes = 2 * head_bytes * shape.n_kv_heads;
  const Bytes memory(block_bytes * blocks_each * shape.n_sequences);
  std::vector<int32_t> table(static_cast<size_t>(blocks_each * shape.n_sequences));
  for (size_t i = 0; i < table.size(); ++i) table[i] = static_cast<int32_t>(i);
  const int64_t stride = int64_t{shape.n_heads} * shape.head_dim;
  const int64_t rows = int64_t{shape.n_sequences} * shape.n_queries;
  std::vector<float> q(static_cast<size_t>(rows * stride), 0.01F);
  std::vector<float> out(q.size());
  const Bytes workspace(static_cast<int64_t>(attention_workspace_bytes(group, shape.head_dim)));
  const int32_t queries_max = std::max(1, kAttentionRowsMax / group);
  const auto run = [&] {
    for (int64_t unit = 0; unit < int64_t{shape.n_sequences} * shape.n_kv_heads; ++unit) {
      const int64_t sequence = unit / shape.n_kv_heads;
      const int64_t head = unit % shape.n_kv_heads;
      for (int32_t first = 0; first < shape.n_queries; first += queries_max) {
        const int64_t at =
            (sequence * shape.n_queries + first) * stride + head * group * shape.head_dim;
        AttentionArgs args;
        args.kv.type = KvType::bf16;
        args.kv.k = memory.data() + head * head_bytes;
        args.kv.v = args.kv.k + block_bytes / 2;
        args.kv.block_stride_bytes = block_bytes;
        args.kv.block_table = table.data() + sequence * blocks_each;
        args.kv.block_size = shape.block_size;
        args.kv.head_dim = shape.head_dim;
        args.q = q.data() + at;
        args.out = out.data() + at;
        args.q_stride = args.out_stride = stride;
        args.n_queries = std::min(queries_max, shape.n_queries - first);
        args.group = group;
        args.first_position = shape.context_tokens + first;
        args.window = shape.window;
        args.scale = 0.125F;
        args.workspace = workspace.data();
        kernels.attention(args);
      }
    }
  };
  double seen = static_cast<double>(shape.context_tokens) + (shape.n_queries + 1) / 2.0;
  if (shape.window > 0) seen = std::min(seen, static_cast<double>(shape.window));
  return repeat(
      run, static_cast<double>(rows * stride) * seen * 4,
      static_cast<double>(tokens * shape.n_sequences * shape.n_kv_heads * shape.head_dim) * 4);
}

Measured measure_rms_norm(Isa isa, bool adds, int64_t rows, int64_t columns) {
  const auto norm = adds ? kernels_of(isa).rms_norm_add : kernels_of(isa).rms_norm;
  const std::vector<float> in(static_cast<size_t>(rows * columns), 0.5F);
  const std::vector<float> weight(static_cast<size_t>(columns), 1.0F);
  std::vector<float> out(in.size());
  const auto n = static_cast<double>(in.size());
  return repeat(
      [&] {
        for (int64_t row = 0; row < rows; ++row) {
          norm(in.data() + row * columns, weight.data(), columns, 1e-5F,
               out.data() + row * columns);
        }
      },
      4 * n, (adds ? 12 : 8) * n);
}

Measured measure_gate_mul(Isa isa, Gate activation, int64_t rows, int64_t columns) {
  const std::vector<float> in(static_cast<size_t>(2 * rows * columns), 0.5F);
  std::vector<float> out(static_cast<size_t>(rows * columns));
  const auto n = static_cast<double>(out.size());
  return repeat(
      [&] {
        for (int64_t row = 0; row < rows; ++row) {
          const float* gate = in.data() + 2 * row * columns;
          kernels_of(isa).gate_mul(activation, gate, gate + columns, columns,
                                   out.data() + row * columns);
        }
      },
      4 * n, 12 * n);
}

Measured measure_rope(Isa isa, int64_t rows, int64_t n_heads, int64_t head_dim) {
  std::vector<float> heads(static_cast<size_t>(rows * n_heads * head_dim), 0.5F);
  const std::vector<float> cos_sin(static_cast<size_t>(head_dim), 0.7F);
  const auto n = static_cast<double>(heads.size());
  return repeat(
      [&] {
        for (int64_t row = 0; row < rows; ++row) {
          kernels_of(isa).rope(heads.data() + row * n_heads * head_dim, n_heads, head_dim,
                               cos_sin.data(), true);
        }
      },
      3 * n, 8 * n);
}

}  // namespace parkd::cpu
