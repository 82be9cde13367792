#include "lib/backend/cpu/cpu_backend.h"

#include <string>
#include <utility>

#include "lib/backend/cpu/cpu_lane.h"
#include "lib/backend/cpu/cpu_weights.h"

namespace parkd {
namespace {

class KernelBackend final : public Backend {
 public:
  KernelBackend(const CpuBackendOptions& options, cpu::Isa isa)
      : options_(options), kernels_(cpu::kernels_of(isa)), weights_(options.dtype) {}

  Result<MatrixId> load_matrix(std::span<const TensorView> parts) override {
    return weights_.load_matrix(parts);
  }
  Result<VectorId> load_vector(const TensorView& vector) override {
    return weights_.load_vector(vector);
  }
  Status allocate_kv(int64_t n_blocks, int32_t block_size) override {
    return weights_.allocate_kv(options_.shape, n_blocks, block_size);
  }
  // Main memory is not a device's: what it may take is configured.
  Result<int64_t> fit_kv(int64_t n_blocks_max, int32_t block_size) override {
    PARKD_RETURN_IF_ERROR(allocate_kv(n_blocks_max, block_size));
    return n_blocks_max;
  }
  Result<std::unique_ptr<Lane>> make_lane() override {
    return std::unique_ptr<Lane>(
        std::make_unique<CpuLane>(weights_, options_.shape, kernels_, options_.team_size));
  }
  std::string describe() const override {
    const char* dtype = options_.dtype == Dtype::f32   ? "f32"
                        : options_.dtype == Dtype::f16 ? "f16"
                                                       : "bf16";
    return std::string("cpu ") + cpu::to_string(kernels_.isa) + " " + dtype;
  }
  int64_t weight_bytes() const override { return weights_.weight_bytes(); }
  int64_t kv_bytes() const override { return weights_.kv_bytes(); }

 private:
  const CpuBackendOptions options_;
  const cpu::CpuKernels& kernels_;
  CpuWeights weights_;
};

Status check_shape(const ModelShape& shape) {
  if (shape.n_layers <= 0 || shape.hidden <= 0 || shape.ffn <= 0 || shape.vocab <= 0 ||
      shape.n_heads <= 0 || shape.n_kv_heads <= 0) {
    return invalid("the model's layers, hidden, ffn, vocab or heads are not positive");
  }
  if (shape.head_dim <= 0 || shape.head_dim > cpu::kHeadDimMax || shape.head_dim % 16 != 0) {
    return invalid("head_dim " + std::to_string(shape.head_dim) +
                   " is not one of 16, 32, 48, ... " + std::to_string(cpu::kHeadDimMax));
  }
  if (shape.n_heads % shape.n_kv_heads != 0) {
    return invalid("n_heads " + std::to_string(shape.n_heads) +
                   " is not a multiple of n_kv_heads " + std::to_string(shape.n_kv_heads));
  }
  return check_layers(shape);
}

}  // namespace

Result<CpuIsaChoice> cpu_isa_from_string(std::string_view word) {
  CpuIsaChoice choice;
  if (word == "auto") return choice;
  for (const cpu::Isa isa : {cpu::Isa::scalar, cpu::Isa::avx2, cpu::Isa::avx512}) {
    if (word != cpu::to_string(isa)) continue;
    choice = isa;
    return choice;
  }
  return invalid("instruction set \"" + std::string(word) +
                 "\" is not one of auto, scalar, avx2, avx512");
}

Result<std::unique_ptr<Backend>> make_cpu_backend(const CpuBackendOptions& options) {
  PARKD_RETURN_IF_ERROR(check_shape(options.shape));
  if (options.team_size < 1 || options.team_size > 1024) {
    return invalid("a team of " + std::to_string(options.team_size) +
                   " threads is outside 1..1024");
  }
  const cpu::Isa isa = options.isa.value_or(cpu::detect_isa());
  if (!cpu::isa_available(isa)) {
    return invalid(std::string("this machine has no ") + cpu::to_string(isa));
  }
  return std::unique_ptr<Backend>(std::make_unique<KernelBackend>(options, isa));
}

}  // namespace parkd
