// Every op case on the CPU backend, on every instruction set and type: against float64, the same
// bits however the rows come (I7), and the same bits on every instruction set.
#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <string>

#include "lib/backend/cpu/cpu_backend.h"
#include "tests/ops/run_cases.h"
#include "tests/support/random_data.h"

namespace parkd {
namespace {

using testing::Implementation;
using testing::LaneCase;
using testing::OpCase;
using testing::OpRows;

constexpr Dtype kDtypes[] = {Dtype::f32, Dtype::f16, Dtype::bf16};

const char* name_of(Dtype dtype) {
  return dtype == Dtype::f32 ? "f32" : dtype == Dtype::f16 ? "f16" : "bf16";
}

Implementation on_cpu(cpu::Isa isa, Dtype dtype) {
  Implementation implementation;
  implementation.name = std::string("cpu ") + cpu::to_string(isa) + " " + name_of(dtype);
  implementation.dtype = dtype;
  implementation.is_slow = isa == cpu::Isa::scalar;
  implementation.make = [isa, dtype](const ModelShape& shape) {
    CpuBackendOptions options;
    options.shape = shape;
    options.dtype = dtype;
    options.isa = isa;
    return make_cpu_backend(options);
  };
  return implementation;
}

bool same_bits(const OpRows& a, const OpRows& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i].size() != b[i].size() ||
        std::memcmp(a[i].data(), b[i].data(), a[i].size() * sizeof(float)) != 0) {
      return false;
    }
  }
  return true;
}

class CpuOps : public ::testing::TestWithParam<Dtype> {};

TEST_P(CpuOps, equal_float64_whatever_stands_beside_them_on_every_instruction_set) {
  const uint64_t seed = testing::fresh_seed();
  // By op and case: what the scalar code gave.
  std::map<std::pair<testing::Op, std::string>, OpRows> first;
  for (const cpu::Isa isa : testing::available_isas()) {
    const Implementation implementation = on_cpu(isa, GetParam());
    testing::run_op_cases(
        implementation, seed, [&](const OpCase& c, LaneCase& run, const OpRows& rows) {
          if (c.op != testing::Op::gather_logit_rows) {
            for (const int32_t chunk : {1, 5, 32, 61}) {
              EXPECT_TRUE(same_bits(run.run(chunk), rows)) << "chunks of " << chunk;
            }
          }
          // VDPBF16PS rounds in its own way.
          if (isa == cpu::Isa::avx512 && GetParam() != Dtype::f32) return;
          const auto [known, is_first] = first.try_emplace({c.op, c.name}, rows);
          EXPECT_TRUE(is_first || same_bits(rows, known->second)) << "another than scalar";
        });
  }
}

INSTANTIATE_TEST_SUITE_P(Types, CpuOps, ::testing::ValuesIn(kDtypes),
                         [](const auto& each) { return std::string(name_of(each.param)); });

}  // namespace
}  // namespace parkd
