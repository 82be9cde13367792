// What every kernel asks of device memory at the shapes of models' decode steps (and of a chunk
// of a prompt; the measured cases of tests/ops/op_cases.h), beside what the formula in its header
// says: one JSON object a line, for tools/kernels/kernel_traffic.py. Runs under the emulator's race
// build only; a seed fixes the inputs.
#include <algorithm>
#include <iostream>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/cuda/kernel_data.h"
#include "tests/cuda_emulator/testing.h"

namespace parkd::cuda {
namespace {

using testing::DeviceArray;
using testing::Op;
using testing::OpCase;
using testing::SequenceCase;
using testing::Step;

constexpr Element kElement = Element::bf16;
constexpr int64_t kElementBytes = 2;
constexpr int64_t kFloat = 4;
constexpr int32_t kResident = 132 * 3;  // blocks of decode attention
constexpr uint64_t kSeed = 20240229;

constexpr int32_t kSequencesOfSlow = 2;

using Model = testing::MeasuredModel;

int64_t q_columns(const Model& m) {
  return int64_t{m.heads.n_heads} * m.heads.head_dim;
}
int64_t kv_columns(const Model& m) {
  return int64_t{m.heads.n_kv_heads} * m.heads.head_dim;
}

DeviceArray<float> floats(int64_t n) {
  return DeviceArray<float>(std::vector<float>(static_cast<size_t>(n), 0.5F));
}
DeviceArray<uint8_t> elements(int64_t n) {
  return DeviceArray<uint8_t>(std::vector<uint8_t>(static_cast<size_t>(n * kElementBytes)));
}

// A kernel, and the bytes that its header's formula gives for the launch.
struct Expected {
  const char* kernel;  // nullptr: has been measured
  int64_t bytes;
};

class Measurement {
 public:
  Measurement(const Model& model, int32_t n_rows) : model_(model), n_rows_(n_rows) {}

  // One launch for each of `kernels`, in this order.
  template <class Launch>
  void of(const std::vector<Expected>& kernels, Launch launch) const {
    cuda_emulator::start_traffic();
    testing::finish(launch());
    const std::vector<cuda_emulator::Traffic> launches = cuda_emulator::stop_traffic();
    if (launches.size() != kernels.size()) throw std::runtime_error("another number of launches");
    for (size_t i = 0; i < kernels.size(); ++i) {
      if (kernels[i].kernel == nullptr) continue;
      const cuda_emulator::Traffic& seen = launches[i];
      std::cout << R"({"model": ")" << model_.name << R"(", "kernel": ")" << kernels[i].kernel
                << R"(", "rows": )" << n_rows_ << R"(, "ideal_bytes": )" << kernels[i].bytes
                << R"(, "bytes_read": )" << seen.bytes_read << R"(, "bytes_written": )"
                << seen.bytes_written << R"(, "sectors": )" << seen.sectors
                << R"(, "memory_bytes": )" << seen.memory_bytes << "}\n";
    }
  }

 private:
  const Model& model_;
  int32_t n_rows_;
};

// --- kernels on rows

void measure_feed_tokens(const Model& m, const Step& step) {
  const int64_t rows = step.n_rows();
  std::vector<int32_t> tokens(static_cast<size_t>(rows));
  for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<int32_t>(i);
  const DeviceArray<int32_t> sampled(tokens);
  for (int32_t& token : tokens) token = -1 - token;
  StepTables tables = step.device;
  const DeviceArray<int32_t> token_array(tokens);
  tables.tokens = token_array.get();
  Measurement(m, step.n_rows()).of({{"feed_tokens", 12 * rows}}, [&] {
    return launch_feed_tokens({tables, sampled.get()}, nullptr);
  });
}

void measure_embed(const Model& m, const OpCase& c, const Step& step) {
  const int64_t rows = step.n_rows();
  std::vector<int32_t> tokens(static_cast<size_t>(rows));
  for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<int32_t>(i);
  StepTables tables = step.device;
  const DeviceArray<int32_t> token_array(tokens);
  tables.tokens = token_array.get();
  const DeviceArray<uint8_t> table = elements(rows * c.columns);
  const DeviceArray<float> out = floats(rows * c.columns);
  Measurement(m, step.n_rows())
      .of({{c.name.c_str(), (kElementBytes + kFloat) * rows * c.columns}}, [&] {
        return launch_embed({tables, table.get(), kElement, c.columns, out.get(), c.scale},
                            nullptr);
      });
}

void measure_gather(const Model& m, const OpCase& c, const Step& step) {
  const int64_t rows = step.n_rows();
  const DeviceArray<float> in = floats(rows * c.columns);
  const DeviceArray<float> gathered = floats(rows * c.columns);
  Measurement(m, step.n_rows()).of({{c.name.c_str(), 2 * kFloat * rows * c.columns}}, [&] {
    return launch_gather_rows({step.device, in.get(), gathered.get(), c.columns}, nullptr);
  });
}

void measure_norm(const Model& m, const OpCase& c) {
  const bool adds = c.op == Op::rms_norm_add;
  const int64_t n = int64_t{c.n_rows()} * c.columns;
  const int64_t out_bytes = adds ? kFloat : kElementBytes;
  const testing::RowCount count(c.n_rows());
  const DeviceArray<float> in = floats(n);
  const DeviceArray<float> weight = floats(c.columns);
  const DeviceArray<uint8_t> out(std::vector<uint8_t>(static_cast<size_t>(n * out_bytes)));
  const int64_t bytes = (kFloat + (adds ? 2 : 1) * out_bytes) * n;
  Measurement(m, c.n_rows()).of({{c.name.c_str(), bytes}}, [&] {
    return launch_rms_norm({count.get(), c.n_rows(), c.columns, 1e-5F, in.get(), weight.get(),
                            out.get(), adds ? Element::f32 : kElement, adds},
                           nullptr);
  });
}

void measure_gate(const Model& m, const OpCase& c) {
  const int64_t rows = c.n_rows();
  const testing::RowCount count(c.n_rows());
  const DeviceArray<float> gate_up = floats(rows * 2 * c.columns);
  const DeviceArray<uint8_t> gated = elements(rows * c.columns);
  Measurement(m, c.n_rows())
      .of({{c.name.c_str(), (2 * kFloat + kElementBytes) * rows * c.columns}}, [&] {
        return launch_gate_mul(
            {count.get(), c.n_rows(), c.columns, gate_up.get(), gated.get(), kElement,
             c.activation == Activation::silu ? Gate::silu : Gate::gelu_tanh},
            nullptr);
      });
}

KvMemory kv_memory(const Model& m, const Step& step, void* base) {
  return {
      base, kElement, 1, step.n_blocks, m.heads.n_kv_heads, m.heads.block_size, m.heads.head_dim};
}

DeviceArray<uint8_t> kv_array(const Model& m, const Step& step) {
  return elements(step.n_blocks * 2 * kv_columns(m) * m.heads.block_size);
}

void measure_rope_table(const Model& m, const Step& step) {
  const int32_t head_dim = m.heads.head_dim;
  const int64_t rows = step.n_rows();
  const DeviceArray<float> inv_freq = floats(head_dim / 2);
  const DeviceArray<float> cos_sin = floats(rows * head_dim);
  Measurement(m, step.n_rows()).of({{"rope_table", kFloat * rows * head_dim}}, [&] {
    return launch_rope_table({step.device, inv_freq.get(), head_dim, 1, cos_sin.get()}, nullptr);
  });
}

void measure_rope(const Model& m, const OpCase& c, const Step& step) {
  const int64_t rows = step.n_rows();
  const DeviceArray<float> cos_sin = floats(rows * m.heads.head_dim);
  const DeviceArray<float> qkv = floats(rows * m.heads.columns());
  const DeviceArray<uint8_t> kv = kv_array(m, step);
  const int64_t bytes =
      rows * (2 * kFloat * q_columns(m) + (kFloat + kElementBytes) * 2 * kv_columns(m));
  const DeviceArray<float> norm = floats(m.heads.head_dim);
  const DeviceArray<float> bias = floats(q_columns(m));
  Measurement(m, step.n_rows()).of({{c.name.c_str(), bytes}}, [&] {
    return launch_rope_and_store(
        {step.device, kv_memory(m, step, kv.get()), 0, m.heads.n_heads,
         c.layout == RopeLayout::interleaved, c.rotates ? cos_sin.get() : nullptr, qkv.get(),
         c.norms ? norm.get() : nullptr, c.norms ? norm.get() : nullptr, 1e-6F,
         c.biases ? bias.get() : nullptr, c.biases ? bias.get() : nullptr,
         c.biases ? bias.get() : nullptr, c.query_scale.beta, c.query_scale.period},
        nullptr);
  });
}

// --- attention

class Attention {
 public:
  Attention(const Model& m, const Step& step, int32_t n_splits)
      : qkv_(floats(step.n_rows() * m.heads.columns())),
        kv_(kv_array(m, step)),
        out_(elements(step.n_rows() * q_columns(m))),
        workspace_(floats(attention_workspace_floats(step.device.decode_max, m.heads.n_heads,
                                                     m.heads.head_dim, n_splits))) {
    params_.step = step.device;
    params_.kv = kv_memory(m, step, kv_.get());
    params_.n_heads = m.heads.n_heads;
    params_.scale = 0.1F;
    params_.qkv = qkv_.get();
    params_.out = out_.get();
    params_.element = kElement;
    params_.n_splits = n_splits;
    params_.prefill_splits = 1;
    params_.workspace = workspace_.get();
  }

  AttentionParams params(bool tensor_cores) const {
    AttentionParams params = params_;
    params.tensor_cores = tensor_cores;
    return params;
  }

 private:
  DeviceArray<float> qkv_;
  DeviceArray<uint8_t> kv_;
  DeviceArray<uint8_t> out_;
  DeviceArray<float> workspace_;
  AttentionParams params_ = {};
};

void measure_decode(const Model& m, const OpCase& c, const Step& step) {
  const int32_t context_tokens = c.sequences.front().context + 1;
  const int64_t rows = step.n_rows();
  const int32_t n_splits = attention_splits(step.n_rows(), m.heads.n_heads, m.heads.n_kv_heads,
                                            context_tokens, kResident);
  const int64_t seen = c.window > 0 ? std::min(c.window, context_tokens) : context_tokens;
  const int64_t kv_bytes = rows * seen * 2 * kv_columns(m) * kElementBytes;
  const int64_t parts_bytes = rows * m.heads.n_heads * n_splits * (m.heads.head_dim + 2) * kFloat;
  const Attention attention(m, step, n_splits);
  Measurement(m, step.n_rows())
      .of({{c.name.c_str(), kv_bytes + parts_bytes},
           {c.window > 0 ? nullptr : "merge_splits",
            parts_bytes + rows * q_columns(m) * kElementBytes}},
          [&] {
            AttentionParams params = attention.params(false);
            params.window = c.window;
            return launch_attention_decode(params, nullptr);
          });
}

// KV once a tile of `tile_rows` rows, q and the output once.
int64_t prefill_bytes(const Model& m, const SequenceCase& chunk, int32_t tile_rows) {
  const int32_t tokens = tile_rows / m.heads.group();
  int64_t kv_tokens = 0;
  for (int32_t first = 0; first < chunk.rows; first += tokens) {
    kv_tokens += chunk.context + std::min(first + tokens, chunk.rows);
  }
  return kv_tokens * 2 * kv_columns(m) * kElementBytes +
         chunk.rows * q_columns(m) * (kFloat + kElementBytes);
}

void measure_prefill(const Model& m, const OpCase& c, const Step& step) {
  const Attention attention(m, step, 1);
  const Measurement measure(m, step.n_rows());
  const SequenceCase& chunk = c.sequences.front();
  measure.of({{c.name.c_str(), prefill_bytes(m, chunk, 32)}},
             [&] { return launch_attention_prefill(attention.params(false), nullptr); });
  if (!prefill_takes_tensor_cores(attention.params(true))) return;
  const std::string name = c.name + "_mma";
  measure.of({{name.c_str(), prefill_bytes(m, chunk, 64)}},
             [&] { return launch_attention_prefill(attention.params(true), nullptr); });
}

void measure_op(const Model& m, const OpCase& c, const Step& step) {
  switch (c.op) {
    case Op::embed:
      return measure_embed(m, c, step);
    case Op::gather_logit_rows:
      return measure_gather(m, c, step);
    case Op::rms_norm:
    case Op::rms_norm_add:
      return measure_norm(m, c);
    case Op::gate_mul:
      return measure_gate(m, c);
    case Op::rope_and_store:
      return measure_rope(m, c, step);
    case Op::attention:
      return c.sequences.front().rows == 1 ? measure_decode(m, c, step)
                                           : measure_prefill(m, c, step);
    case Op::matmul:
    case Op::matmul_add:
      return;  // cuBLAS's; tools/kernels/kernel_roofline.py counts them from the shapes
  }
}

// --- logits

struct Way {
  const char* kernel;
  SampleRowParams how;
  int64_t passes;  // over the logits; 0: greedy
};

void measure_sampling(const Model& m, const DeviceArray<float>& logits) {
  const int64_t rows = kSequencesOfSlow;
  const Measurement measure(m, kSequencesOfSlow);
  const testing::RowCount count(kSequencesOfSlow);
  const DeviceArray<uint8_t> workspace(
      static_cast<size_t>(sampling_workspace_bytes(kSequencesOfSlow, m.vocab)));
  const DeviceArray<int32_t> tokens(static_cast<size_t>(rows));
  const int64_t maxima_bytes = (m.vocab + 63) / 64 * kFloat;
  for (const Way& way : {Way{"choose_tokens, greedy", {0, 1, 0, 0, 1, 0, 7}, 0},
                         Way{"choose_tokens", {1, 1, 0, 0, 1, 0, 7}, 1},
                         Way{"choose_tokens, top_p 0.9", {1, 0.9F, 0, 0, 1, 0, 7}, 2},
                         Way{"choose_tokens, top_k 50", {1, 1, 0, 50, 1, 0, 7}, 2}}) {
    const DeviceArray<SampleRowParams> how(
        std::vector<SampleRowParams>(static_cast<size_t>(rows), way.how));
    const int64_t read = way.passes == 0 ? 64 * kFloat : way.passes * m.vocab * kFloat;
    const auto launch = [&] {
      return launch_sampling({count.get(), kSequencesOfSlow, m.vocab, logits.get(), how.get(),
                              workspace.get(), tokens.get()},
                             nullptr);
    };
    measure.of(
        {{way.passes == 0 ? "scan_logits" : nullptr, rows * (m.vocab * kFloat + maxima_bytes)},
         {way.kernel, rows * (read + maxima_bytes)}},
        launch);
  }
}

void measure_logprobs(const Model& m, const DeviceArray<float>& logits) {
  constexpr int32_t kTop = 5;
  const int64_t rows = kSequencesOfSlow;
  const testing::RowCount count(kSequencesOfSlow);
  const DeviceArray<int32_t> tokens(std::vector<int32_t>(static_cast<size_t>(rows), 11));
  const DeviceArray<float> logprob = floats(rows);
  const DeviceArray<int32_t> top_tokens(static_cast<size_t>(rows * kTop));
  const DeviceArray<float> top_logprobs = floats(rows * kTop);
  for (const int32_t top : {0, kTop}) {
    constexpr int64_t passes = 2;  // one for the maximum, one for the sum, which lists the best
    Measurement(m, kSequencesOfSlow)
        .of({{top == 0 ? "logprobs" : "logprobs, top 5", rows * passes * m.vocab * kFloat}}, [&] {
          return launch_logprobs(
              {count.get(), kSequencesOfSlow, m.vocab, logits.get(), tokens.get(), logprob.get(),
               top, top_tokens.get(), top_logprobs.get()},
              nullptr);
        });
  }
}

// A row that counts 1,000 tokens all over the vocabulary, and the raw row back.
void measure_logit_processors(const Model& m, const DeviceArray<float>& logits) {
  constexpr int32_t kCounts = 1000;
  const testing::RowCount count(1);
  std::vector<LogitEdit> edits;
  for (int32_t i = 0; i < kCounts; ++i) edits.push_back({i * (m.vocab / kCounts), 1, 0.5F});
  const DeviceArray<LogitEdit> edit_array(edits);
  const DeviceArray<LogitProcessorRow> row(
      std::vector<LogitProcessorRow>{{0.5F, 0.5F, 1.1F, 0, kCounts, -1}});
  const LogitProcessorParams params = {count.get(),      1,      m.vocab, logits.get(), row.get(),
                                       edit_array.get(), nullptr};
  Measurement(m, 1).of({{"logit_processors", int64_t{24} * kCounts}},
                       [&] { return launch_logit_processors(params, nullptr); });
  Measurement(m, 1).of({{"restore_logits", int64_t{12} * kCounts}},
                       [&] { return launch_restore_logits(params, nullptr); });
}

// --- loading

struct Format {
  const char* kernel;
  int32_t ggml;
  int64_t block_elements;
  int64_t block_bytes;
};

void measure_dequantise(const Model& m) {
  constexpr int32_t kRows = 16;
  for (const Format& f :
       {Format{"dequantise q4_0", 2, 32, 18}, Format{"dequantise q4_1", 3, 32, 20},
        Format{"dequantise q8_0", 8, 32, 34}, Format{"dequantise f32", 0, 1, 4},
        Format{"dequantise f16", 1, 1, 2}, Format{"dequantise bf16", 30, 1, 2}}) {
    const int64_t n = int64_t{kRows} * m.hidden;
    const int64_t from_bytes = n / f.block_elements * f.block_bytes;
    const DeviceArray<uint8_t> from(std::vector<uint8_t>(static_cast<size_t>(from_bytes)));
    const DeviceArray<uint8_t> to = elements(n);
    Measurement(m, kRows).of({{f.kernel, from_bytes + n * kElementBytes}}, [&] {
      return launch_dequantise({from.get(), f.ggml, kRows, m.hidden, to.get(), kElement}, nullptr);
    });
  }
}

void measure_model(const Model& m) {
  std::mt19937_64 random(kSeed);
  const std::vector<OpCase> cases = testing::measured_op_cases(m);
  const Step decoding(random, cases.front().sequences, m.heads.block_size, 0);
  measure_feed_tokens(m, decoding);
  measure_rope_table(m, decoding);
  for (const OpCase& c : cases) {
    if (c.op == Op::attention) {
      std::mt19937_64 other(kSeed);  // a window comes between what had its draws before
      measure_op(m, c, Step(c.window > 0 ? other : random, c.sequences, m.heads.block_size, 0));
    } else {
      measure_op(m, c, decoding);
    }
  }
  const DeviceArray<float> logits(
      testing::random_floats(random, int64_t{kSequencesOfSlow} * m.vocab, 3.0F));
  measure_sampling(m, logits);
  measure_logprobs(m, logits);
  measure_logit_processors(m, logits);
  measure_dequantise(m);
}

}  // namespace
}  // namespace parkd::cuda

int main() {
  cuda_emulator::set_schedule({cuda_emulator::Order::forward, 1});
  std::cout << R"({"compiler": ")" << __VERSION__ << "\"}\n";
  for (const auto& model : parkd::testing::kMeasuredModels) parkd::cuda::measure_model(model);
  return 0;
}
