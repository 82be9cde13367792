// Every op case on the CUDA backend, on the emulator or a GPU, with every type and with attention
// on tensor cores: against float64.
#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "lib/backend/cuda/cuda_backend.h"
#include "tests/ops/run_cases.h"
#include "tests/support/random_data.h"

namespace parkd {
namespace {

using testing::Implementation;
using testing::LaneCase;
using testing::OpCase;
using testing::OpRows;

struct Way {
  const char* name;
  Dtype dtype;
  bool tensor_cores = false;
};
// The sanitized builds are many times slower: they look at memory, not at f16.
#ifdef CUDA_EMULATOR_BUILD
const bool kIsSanitized = std::string_view(CUDA_EMULATOR_BUILD) != "plain";
#else
const bool kIsSanitized = false;
#endif
constexpr Way kWays[] = {{"f32", Dtype::f32},
                         {"f16", Dtype::f16},
                         {"bf16", Dtype::bf16},
                         {"f16_on_tensor_cores", Dtype::f16, true},
                         {"bf16_on_tensor_cores", Dtype::bf16, true}};

Implementation on_cuda(const Way& way) {
  Implementation implementation;
  implementation.name = std::string("cuda ") + way.name;
  implementation.kind = Implementation::Kind::cuda;
  implementation.dtype = way.dtype;
  implementation.is_slow = kIsSanitized;
  implementation.tensor_cores = way.tensor_cores;
  if (way.tensor_cores) implementation.only = testing::Op::attention;
#ifdef CUDA_EMULATOR_BUILD
  implementation.memory_is_nan = true;
#endif
  implementation.make = [way](const ModelShape& shape) {
    CudaBackendOptions options;
    options.shape = shape;
    options.dtype = way.dtype;
    options.tensor_core_attention = way.tensor_cores;
    return make_cuda_backend(options);
  };
  return implementation;
}

class CudaOps : public ::testing::TestWithParam<Way> {};

TEST_P(CudaOps, equal_float64) {
  if (kIsSanitized && GetParam().dtype == Dtype::f16) GTEST_SKIP() << "in the plain build";
  testing::run_op_cases(on_cuda(GetParam()), testing::fresh_seed(),
                        [](const OpCase&, LaneCase&, const OpRows&) {});
}

INSTANTIATE_TEST_SUITE_P(Ways, CudaOps, ::testing::ValuesIn(kWays),
                         [](const auto& each) { return std::string(each.param.name); });

}  // namespace
}  // namespace parkd
