// kernels_bench: speed of the CPU kernels on one thread, on the shapes of a measured model.
//   kernels_bench [--json] [--isa scalar|avx2|avx512] [--type Q4_K] [--quick]
//                 [--model SmolLM2-135M|Mistral-7B|Gemma-3-270M]
// Prints GOP/s (best of the repeats) and percent of the dot instruction's measured peak.
#include <cstdio>
#include <cstring>
#include <string>

#include "kernels/cpu/measure.h"
#include "lib/weights/formats.h"
#include "tests/ops/op_cases.h"

namespace {

using namespace parkd::cpu;
using parkd::kTensorFormats;
using parkd::TensorFormat;
using parkd::TensorType;
using parkd::testing::kMeasuredModels;
using parkd::testing::measured_op_cases;
using parkd::testing::MeasuredModel;
using parkd::testing::Op;
using parkd::testing::OpCase;
using parkd::testing::SequenceCase;

struct Settings {
  Isa isa = detect_isa();
  std::string model = "SmolLM2-135M";
  std::string type;  // of the products' weights; empty: all
  bool json = false;
  bool quick = false;
};

constexpr int64_t kRows[] = {1, 8, 32, 128};

void print(const Settings& settings, const std::string& what, const Measured& measured,
           double peak) {
  const char* format =
      settings.json ? "{\"name\":\"%s\",\"isa\":\"%s\",\"best_us\":%.1f,\"median_us\":%.1f,"
                      "\"gop_per_s\":%.1f,\"gb_per_s\":%.1f,\"percent_of_peak\":%.1f}\n"
                    : "%-28s %-7s %10.1f us (median %10.1f) %8.1f GOP/s %6.1f GB/s %5.1f %%\n";
  std::printf(format, what.c_str(), to_string(settings.isa), measured.best_s * 1e6,
              measured.median_s * 1e6, measured.gop_per_s, measured.gb_per_s,
              100 * measured.gop_per_s / peak);
  std::fflush(stdout);
}

bool parse(int argc, char** argv, Settings& settings) {
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--json") {
      settings.json = true;
    } else if (word == "--quick") {
      settings.quick = true;
    } else if (word == "--model" && i + 1 < argc) {
      settings.model = argv[++i];
      bool found = false;
      for (const MeasuredModel& model : kMeasuredModels) found |= settings.model == model.name;
      if (!found) return false;
    } else if (word == "--type" && i + 1 < argc) {
      settings.type = argv[++i];
      bool found = false;
      for (const TensorFormat& format : kTensorFormats) found |= settings.type == format.name;
      if (!found) return false;
    } else if (word == "--isa" && i + 1 < argc) {
      const std::string name = argv[++i];
      bool found = false;
      for (const Isa isa : {Isa::scalar, Isa::avx2, Isa::avx512}) {
        if (name != to_string(isa)) continue;
        settings.isa = isa;
        found = true;
      }
      if (!found || !isa_available(settings.isa)) return false;
    } else {
      return false;
    }
  }
  return true;
}

void bench_product(const Settings& settings, const OpCase& c, double peak) {
  for (const TensorFormat& format : kTensorFormats) {
    const TensorType type = format.type;
    if (type == TensorType::f16 || c.columns % format.block_elements != 0) continue;
    if (!settings.type.empty() && settings.type != format.name) continue;
    for (const int64_t m : kRows) {
      if (settings.quick && (c.name != "gate_up" || m == 128)) continue;
      const std::string what = std::string(format.name) + "_K" + std::to_string(c.columns) + "_N" +
                               std::to_string(c.outputs) + "_M" + std::to_string(m);
      print(settings, what,
            measure_matmul(settings.isa, type, m, c.columns, c.outputs, int64_t{160} << 20), peak);
    }
  }
}

void bench_attention(const Settings& settings, const OpCase& c, double peak) {
  const bool decodes = c.sequences.front().rows == 1;
  const int32_t n_sequences = decodes ? 32 : 1;
  const SequenceCase& s = c.sequences.front();
  print(settings,
        c.name + "_" + std::to_string(n_sequences) + "x" + std::to_string(s.rows) + "_after_" +
            std::to_string(s.context),
        measure_attention(settings.isa,
                          {n_sequences, s.rows, s.context, c.heads.n_heads, c.heads.n_kv_heads,
                           c.heads.head_dim, c.heads.block_size, c.window}),
        peak);
}

void bench(const Settings& settings, const OpCase& c, double peak) {
  const auto rows = static_cast<int64_t>(c.sequences.size());
  switch (c.op) {
    case Op::matmul:
    case Op::matmul_add:
      return bench_product(settings, c, peak);
    case Op::attention:
      return bench_attention(settings, c, peak);
    case Op::rms_norm:
    case Op::rms_norm_add:
      return print(settings, c.name,
                   measure_rms_norm(settings.isa, c.op == Op::rms_norm_add, rows, c.columns), peak);
    case Op::gate_mul:
      return print(
          settings, c.name,
          measure_gate_mul(settings.isa,
                           c.activation == parkd::Activation::silu ? Gate::silu : Gate::gelu_tanh,
                           rows, c.columns),
          peak);
    case Op::rope_and_store:
      if (c.norms || c.biases) return;  // rms_norm's kernel, head by head
      return print(
          settings, "rope",
          measure_rope(settings.isa, rows, c.heads.n_heads + c.heads.n_kv_heads, c.heads.head_dim),
          peak);
    case Op::embed:
    case Op::gather_logit_rows:
      return;  // copies of some rows a step
  }
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  if (!parse(argc, argv, settings)) {
    std::fprintf(stderr,
                 "usage: kernels_bench [--json] [--quick] [--isa scalar|avx2|avx512] "
                 "[--model SmolLM2-135M|Mistral-7B|Gemma-3-270M] [--type Q4_K]\n");
    return 2;
  }
  const double peak = measure_dot_peak_gop_per_s(settings.isa);
  const double read = measure_read_gb_per_s();
  std::printf(settings.json
                  ? "{\"name\":\"peak\",\"isa\":\"%s\",\"gop_per_s\":%.1f,\"gb_per_s\":%.1f}\n"
                  : "peak of integer dots, %s: %.1f GOP/s; memory read: %.1f GB/s\n",
              to_string(settings.isa), peak, read);
  for (const MeasuredModel& model : kMeasuredModels) {
    if (settings.model != model.name) continue;
    for (const OpCase& c : measured_op_cases(model)) bench(settings, c, peak);
  }
  return 0;
}
