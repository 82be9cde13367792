// StepLayout: how a StepBatch and its sampling rows lie in one piece of memory, pinned on the host
// and the same on the device, as the kernels read it: a step costs two copies, however many
// sequences.
//
// The layout is fixed by the most a step may have, so the device's pointers never change and a
// captured graph stays true; the block tables come last and are as wide as the step needs. How rows
// are sampled is known later than the rest and is copied on its own.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/cuda/kernels.h"
#include "lib/backend/cuda/cuda_handles.h"
#include "lib/model/lane.h"

namespace parkd::cuda {

struct StepLimits {
  int32_t rows_max = 0;
  int32_t sequences_max = 0;  // at most rows_max: each has a row
  int32_t logit_rows_max = 0;
  int32_t blocks_max = 0;  // of one sequence
};

// Byte offsets of everything in a step's memory, on host and device alike.
class StepLayout {
 public:
  explicit StepLayout(const StepLimits& limits);

  size_t bytes() const { return bytes_; }
  const StepLimits& limits() const { return limits_; }

  // Where the parts lie behind `base`; the tables' maxima are the limits'.
  StepTables tables(uint8_t* base) const;
  SampleRowParams* sample_rows(uint8_t* base) const;

  // Packs `batch` at `base`, sequences of one row first. Returns the written part, to be copied.
  std::span<const uint8_t> pack(const StepBatch& batch, uint8_t* base) const;
  std::span<const uint8_t> pack_samples(std::span<const SampleRow> rows, uint8_t* base) const;

 private:
  const StepLimits limits_;
  size_t sample_rows_ = 0;
  size_t counts_ = 0;
  size_t tokens_ = 0;
  size_t positions_ = 0;
  size_t sequence_of_row_ = 0;
  size_t first_row_ = 0;
  size_t rows_of_sequence_ = 0;
  size_t context_tokens_ = 0;
  size_t logit_rows_ = 0;
  size_t block_tables_ = 0;
  size_t bytes_ = 0;
};

// How the edits of a step's rows lie in memory, for launch_logit_processors: a LogitProcessorRow
// for each, then their edits. As large as the requests make it, unlike StepLayout.
class EditLayout {
 public:
  explicit EditLayout(std::span<const SampleRow> rows);

  bool empty() const { return n_edits_ == 0; }
  size_t bytes() const { return bytes_; }
  void pack(std::span<const SampleRow> rows, uint8_t* base) const;
  LogitProcessorRow* rows(uint8_t* base) const;
  LogitEdit* edits(uint8_t* base) const;

 private:
  int64_t n_edits_ = 0;  // with the places of unseen tokens
  size_t rows_ = 0;
  size_t edits_ = 0;
  size_t bytes_ = 0;
};

inline constexpr int32_t kTopLogprobsMax = 20;

// What log-probabilities come back as, behind each other.
struct LogprobLayout {
  int64_t rows_max;
  size_t chosen_bytes() const { return static_cast<size_t>(rows_max) * sizeof(float); }
  size_t top_bytes() const { return chosen_bytes() * kTopLogprobsMax; }
  size_t bytes() const { return chosen_bytes() + 2 * top_bytes(); }
  float* chosen(uint8_t* base) const { return reinterpret_cast<float*>(base); }
  int32_t* top_tokens(uint8_t* base) const {
    return reinterpret_cast<int32_t*>(base + chosen_bytes());
  }
  float* top_logprobs(uint8_t* base) const {
    return reinterpret_cast<float*>(base + chosen_bytes() + top_bytes());
  }
};

// The rows that a step of `n_sequences` decodes is computed as, one graph for each number: half as
// many more at most, and never more than `most` where that is enough.
int32_t decode_bucket(int64_t n_sequences, int64_t most);

// Whether every sequence of the step has one row, whose logits are wanted: what decoding is.
bool is_decode(const StepBatch& batch);

}  // namespace parkd::cuda
