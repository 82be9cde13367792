#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "lib/backend/cuda/cublas.h"
#include "tests/gpu/probe/probes.h"
#include "tests/gpu/probe/timer.h"
#include "tests/ops/op_cases.h"

namespace parkd::probe {
namespace {

using testing::DeviceArray;
using testing::require;

struct Matrix {
  const char* name;
  int64_t outputs;
  int64_t k;
};

constexpr int64_t kElement = 2;  // bytes: bf16

template <class T>
T value_of(Result<T> result) {
  if (!result.ok()) throw std::runtime_error(result.status().to_string());
  return std::move(result).value();
}

}  // namespace

void probe_products(const Figures& figures, bool tiny) {
  const testing::MeasuredModel& model = testing::kMeasuredModels[0];
  const int64_t part = tiny ? 64 : 1;
  const int64_t hidden = model.hidden / part;
  const int64_t ffn = model.ffn / part;
  const int64_t q = model.heads.n_heads * int64_t{model.heads.head_dim} / part;
  const int64_t kv = model.heads.n_kv_heads * int64_t{model.heads.head_dim} / part;
  const Matrix matrices[] = {{"qkv", q + 2 * kv, hidden},
                             {"attention_out", hidden, q},
                             {"gate_and_up", 2 * ffn, hidden},
                             {"down", hidden, ffn},
                             {"head", model.vocab / part, hidden}};
  // More weights than any cache holds, in turn.
  const size_t pool_bytes = tiny ? size_t{1} << 20 : size_t{1} << 30;
  const DeviceArray<uint8_t> weights(pool_bytes);
  require(cudaMemset(weights.get(), 0, pool_bytes), "cudaMemset");
  const int64_t rows_max = tiny ? 8 : 512;
  const DeviceArray<uint8_t> in(static_cast<size_t>(rows_max * ffn * kElement));
  require(cudaMemset(in.get(), 0, in.size()), "cudaMemset");
  const DeviceArray<float> out(static_cast<size_t>(rows_max) *
                               static_cast<size_t>(std::max<int64_t>(2 * ffn, model.vocab / part)));

  const auto stream = value_of(cuda::Stream::make());
  const auto cublas = value_of(cuda::Cublas::make(stream));
  cudaEvent_t first = nullptr;
  cudaEvent_t last = nullptr;
  require(cudaEventCreate(&first), "cudaEventCreate");
  require(cudaEventCreate(&last), "cudaEventCreate");
  const int runs = tiny ? 1 : 20;
  for (const Matrix& matrix : matrices) {
    const auto bytes = static_cast<size_t>(matrix.outputs * matrix.k * kElement);
    size_t at = 0;
    const auto multiply = [&](int64_t rows) {
      if (at + bytes > pool_bytes) at = 0;
      const Status status = cublas.multiply(weights.get() + at, in.get(), cuda::Element::bf16, rows,
                                            matrix.outputs, matrix.k, false, out.get());
      if (!status.ok()) throw std::runtime_error(status.to_string());
      at += bytes;
    };
    for (const int64_t rows : {1, 8, 16, 64, 256, 512}) {
      if (rows > rows_max) continue;
      multiply(rows);  // cuBLAS chooses
      require(cudaEventRecord(first, stream.get()), "cudaEventRecord");
      for (int run = 0; run < runs; ++run) multiply(rows);
      require(cudaEventRecord(last, stream.get()), "cudaEventRecord");
      require(cudaStreamSynchronize(stream.get()), "the products");
      float milliseconds = 0;
      require(cudaEventElapsedTime(&milliseconds, first, last), "cudaEventElapsedTime");
      const double flops = 2 * double(rows) * double(matrix.outputs) * double(matrix.k);
      const double moved =
          double(bytes) + double(rows) * double(kElement * matrix.k + 4 * matrix.outputs);
      figures.print("product." + std::string(matrix.name) + "." + std::to_string(rows) + "_rows",
                    1e3 * double(milliseconds) / runs, "us",
                    [&](const simulate::DeviceSheet& sheet) {
                      return 1e6 * std::max(moved / sheet.bytes_per_s, flops / sheet.tensor_flops);
                    });
    }
  }
  (void)cudaEventDestroy(first);
  (void)cudaEventDestroy(last);
}

}  // namespace parkd::probe
