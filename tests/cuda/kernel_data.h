// Data of the kernel tests: element types on the host, a step's tables.
//
// One source for both machines: under the emulator and on a device it is the same runtime API.
#pragma once

#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <iostream>
#include <limits>
#include <memory>
#include <numeric>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "kernels/common/half.h"
#include "kernels/cuda/kernels.h"
#include "tests/cuda/device_test.h"
#include "tests/ops/errors.h"
#include "tests/ops/op_cases.h"
#include "tests/ops/reference.h"
#include "tests/support/random_data.h"

namespace parkd::testing {

inline constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
inline constexpr float kInfinity = std::numeric_limits<float>::infinity();
inline constexpr cuda::Element kElements[] = {cuda::Element::f32, cuda::Element::f16,
                                              cuda::Element::bf16};

inline const char* to_string(cuda::Element element) {
  return element == cuda::Element::f32 ? "f32" : element == cuda::Element::f16 ? "f16" : "bf16";
}

// The cases of an op that the kernels can do.
inline std::vector<OpCase> device_cases(Op op) {
  std::vector<OpCase> cases = op_cases(op);
  std::erase_if(cases, [](const OpCase& c) { return c.refused_by == RefusedBy::cuda; });
  return cases;
}

// Half an ulp of an element type, relative.
inline double rounding(cuda::Element element) {
  return element == cuda::Element::f32 ? 0x1p-24 : element == cuda::Element::f16 ? 0x1p-11 : 0x1p-8;
}

// Waits for what was launched on the default stream.
inline void finish(cudaError_t launched) {
  require(launched, "the launch");
  require(cudaStreamSynchronize(nullptr), "the kernel");
}

// --- elements on the host

inline uint16_t to_half(cuda::Element element, float value) {
  return element == cuda::Element::f16 ? float_to_f16(value) : float_to_bf16(value);
}
inline float from_half(cuda::Element element, uint16_t half) {
  return element == cuda::Element::f16 ? f16_to_float(half) : bf16_to_float(half);
}
inline float rounded(cuda::Element element, float value) {
  return element == cuda::Element::f32 ? value : from_half(element, to_half(element, value));
}

inline std::vector<uint8_t> to_elements(cuda::Element element, const std::vector<float>& values) {
  std::vector<uint8_t> bytes(values.size() * static_cast<size_t>(element_bytes(element)));
  for (size_t i = 0; i < values.size(); ++i) {
    if (element == cuda::Element::f32) {
      std::memcpy(bytes.data() + i * 4, &values[i], 4);
    } else {
      const uint16_t half = to_half(element, values[i]);
      std::memcpy(bytes.data() + i * 2, &half, 2);
    }
  }
  return bytes;
}

inline std::vector<float> from_elements(cuda::Element element, const std::vector<uint8_t>& bytes) {
  std::vector<float> values(bytes.size() / static_cast<size_t>(element_bytes(element)));
  for (size_t i = 0; i < values.size(); ++i) {
    if (element == cuda::Element::f32) {
      std::memcpy(&values[i], bytes.data() + i * 4, 4);
    } else {
      uint16_t half;
      std::memcpy(&half, bytes.data() + i * 2, 2);
      values[i] = from_half(element, half);
    }
  }
  return values;
}

// Device memory for n elements.
inline DeviceArray<uint8_t> element_array(cuda::Element element, int64_t n) {
  return DeviceArray<uint8_t>(static_cast<size_t>(n * element_bytes(element)));
}

// --- a step

// Tables of a step on the device, with blocks of `block_size` tokens in permuted order; launches
// may be for `spare` more rows, sequences and logit rows than there are. Sequences of one row come
// first.
class Step {
 public:
  Step(std::mt19937_64& random, std::vector<SequenceCase> cases, int32_t block_size, int32_t spare)
      : sequences(std::move(cases)) {
    std::stable_partition(sequences.begin(), sequences.end(),
                          [](const SequenceCase& s) { return s.rows == 1; });
    int32_t stride = 0;
    for (const SequenceCase& s : sequences) {
      stride = std::max(stride, (s.context + s.rows + block_size - 1) / block_size);
    }
    stride += spare;
    const auto n_sequences = static_cast<int32_t>(sequences.size());
    n_blocks = n_sequences * stride + 3;
    std::vector<int32_t> order(static_cast<size_t>(n_blocks));
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), random);
    tables.assign(order.begin(), order.begin() + n_sequences * stride);
    table_stride = stride;
    int32_t n_decode = 0;
    std::vector<int32_t> rows_of;
    std::vector<int32_t> contexts;
    for (int32_t i = 0; i < n_sequences; ++i) {
      const SequenceCase& s = sequences[static_cast<size_t>(i)];
      n_decode += s.rows == 1 ? 1 : 0;
      first_row.push_back(n_rows());
      rows_of.push_back(s.rows);
      contexts.push_back(s.context);
      for (int32_t r = 0; r < s.rows; ++r) {
        positions.push_back(s.context + r);
        sequence_of_row.push_back(i);
      }
      logit_rows.push_back(n_rows() - 1);
    }
    counts_.emplace(std::vector<cuda::StepTables::Counts>{
        {n_rows(), n_sequences, n_sequences, n_decode, stride}});
    const auto put = [&](const std::vector<int32_t>& values) {
      arrays_.push_back(std::make_unique<DeviceArray<int32_t>>(values));
      return arrays_.back()->get();
    };
    device.counts = counts_->get();
    tokens.assign(positions.size(), 0);
    device.tokens = put(tokens);
    device.positions = put(positions);
    device.sequence_of_row = put(sequence_of_row);
    device.first_row = put(first_row);
    device.rows_of_sequence = put(rows_of);
    device.context_tokens = put(contexts);
    device.block_tables = put(tables);
    device.logit_rows = put(logit_rows);
    device.rows_max = n_rows() + spare;
    device.sequences_max = n_sequences + spare;
    device.logit_rows_max = n_sequences + spare;
    device.decode_max = n_decode + spare;
  }

  int32_t n_rows() const { return static_cast<int32_t>(positions.size()); }
  void set_tokens(const std::vector<int32_t>& values) { arrays_.front()->write(values); }
  std::vector<int32_t> read_tokens() const { return arrays_.front()->read(); }
  int32_t block_of(int32_t sequence, int32_t block) const {
    return tables[static_cast<size_t>(sequence * table_stride + block)];
  }

  std::vector<SequenceCase> sequences;
  std::vector<int32_t> tokens;
  std::vector<int32_t> positions;
  std::vector<int32_t> sequence_of_row;
  std::vector<int32_t> first_row;
  std::vector<int32_t> logit_rows;
  std::vector<int32_t> tables;
  int32_t table_stride = 0;
  int32_t n_blocks = 0;
  cuda::StepTables device = {};

 private:
  std::optional<DeviceArray<cuda::StepTables::Counts>> counts_;
  std::vector<std::unique_ptr<DeviceArray<int32_t>>> arrays_;
};

// How many rows there are, on the device.
class RowCount {
 public:
  explicit RowCount(int32_t n) : array_(std::vector<int32_t>{n}) {}
  const int32_t* get() const { return array_.get(); }

 private:
  DeviceArray<int32_t> array_;
};

}  // namespace parkd::testing
