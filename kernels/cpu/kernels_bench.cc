// kernels_bench: speed of the CPU kernels on one thread, on the shapes of SmolLM2-135M.
//   kernels_bench [--json] [--isa scalar|avx2|avx512] [--quick]
// Prints GOP/s (best of the repeats) and percent of the dot instruction's measured peak.
#include <cstdio>
#include <cstring>
#include <string>

#include "kernels/cpu/measure.h"

namespace {

using namespace parkd::cpu;

struct Settings {
  Isa isa = detect_isa();
  bool json = false;
  bool quick = false;
};

struct Shape {
  int64_t k;
  int64_t n;
};

constexpr Shape kShapes[] = {{576, 1536}, {1536, 576}, {576, 960}, {576, 49152}};
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

void bench_matmul(const Settings& settings, double peak) {
  struct Named {
    PanelType type;
    const char* name;
  };
  const Named types[] = {{PanelType::q4_1, "q4_1"},
                         {PanelType::q8_0, "q8_0"},
                         {PanelType::bf16, "bf16"},
                         {PanelType::f32, "f32"}};
  for (const Named& type : types) {
    for (const Shape& shape : kShapes) {
      for (const int64_t m : kRows) {
        if (settings.quick && (shape.n != 1536 || m == 128)) continue;
        const std::string what = std::string(type.name) + "_K" + std::to_string(shape.k) + "_N" +
                                 std::to_string(shape.n) + "_M" + std::to_string(m);
        print(settings, what,
              measure_matmul(settings.isa, type.type, m, shape.k, shape.n, int64_t{160} << 20),
              peak);
      }
    }
  }
}

void bench_attention(const Settings& settings, double peak) {
  print(settings, "attention_decode_32x256",
        measure_attention(settings.isa, {32, 1, 256, 9, 3, 64, 32}), peak);
  print(settings, "attention_prefill_512",
        measure_attention(settings.isa, {1, 512, 0, 9, 3, 64, 32}), peak);
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  if (!parse(argc, argv, settings)) {
    std::fprintf(stderr, "usage: kernels_bench [--json] [--quick] [--isa scalar|avx2|avx512]\n");
    return 2;
  }
  const double peak = measure_dot_peak_gop_per_s(settings.isa);
  const double read = measure_read_gb_per_s();
  std::printf(settings.json
                  ? "{\"name\":\"peak\",\"isa\":\"%s\",\"gop_per_s\":%.1f,\"gb_per_s\":%.1f}\n"
                  : "peak of integer dots, %s: %.1f GOP/s; memory read: %.1f GB/s\n",
              to_string(settings.isa), peak, read);
  bench_matmul(settings, peak);
  bench_attention(settings, peak);
  return 0;
}
