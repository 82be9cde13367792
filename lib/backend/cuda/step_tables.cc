#include "lib/backend/cuda/step_tables.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <iterator>

#include "lib/base/check.h"
#include "lib/base/units.h"

namespace parkd::cuda {
namespace {

// Takes `n` elements of T from a layout, at the alignment every kernel may rely on.
template <class T>
size_t take(size_t& end, int64_t n) {
  constexpr size_t kAlignment = 16;
  const size_t offset = end;
  const size_t bytes = static_cast<size_t>(n) * sizeof(T);
  end += (bytes + kAlignment - 1) / kAlignment * kAlignment;
  return offset;
}

template <class T>
T* at(uint8_t* base, size_t offset) {
  return reinterpret_cast<T*>(base + offset);
}

// What the kernels get to write through, of one step.
struct HostTables {
  int32_t* tokens;
  int32_t* positions;
  int32_t* sequence_of_row;
  int32_t* first_row;
  int32_t* rows_of_sequence;
  int32_t* context_tokens;
  int32_t* block_tables;
  int32_t block_table_stride;
};

void pack_sequence(const StepSequence& sequence, int32_t index, const HostTables& to) {
  to.first_row[index] = sequence.first_row;
  to.rows_of_sequence[index] = sequence.n_rows;
  to.context_tokens[index] = sequence.context_tokens;
  for (int32_t i = 0; i < sequence.n_rows; ++i) {
    to.positions[sequence.first_row + i] = sequence.context_tokens + i;
    to.sequence_of_row[sequence.first_row + i] = index;
  }
  std::copy(sequence.block_table.begin(), sequence.block_table.end(),
            to.block_tables + int64_t{index} * to.block_table_stride);
}

int32_t widest_table(const StepBatch& batch) {
  size_t most = 0;
  for (const StepSequence& sequence : batch.sequences) {
    most = std::max(most, sequence.block_table.size());
  }
  return static_cast<int32_t>(most);
}

}  // namespace

StepLayout::StepLayout(const StepLimits& limits) : limits_(limits) {
  sample_rows_ = take<SampleRowParams>(bytes_, limits.logit_rows_max);
  counts_ = take<StepTables::Counts>(bytes_, 1);
  tokens_ = take<int32_t>(bytes_, limits.rows_max);
  positions_ = take<int32_t>(bytes_, limits.rows_max);
  sequence_of_row_ = take<int32_t>(bytes_, limits.rows_max);
  first_row_ = take<int32_t>(bytes_, limits.sequences_max);
  rows_of_sequence_ = take<int32_t>(bytes_, limits.sequences_max);
  context_tokens_ = take<int32_t>(bytes_, limits.sequences_max);
  logit_rows_ = take<int32_t>(bytes_, limits.logit_rows_max);
  block_tables_ = take<int32_t>(bytes_, int64_t{limits.sequences_max} * limits.blocks_max);
}

StepTables StepLayout::tables(uint8_t* base) const {
  StepTables tables = {};
  tables.counts = at<StepTables::Counts>(base, counts_);
  tables.tokens = at<int32_t>(base, tokens_);
  tables.positions = at<int32_t>(base, positions_);
  tables.sequence_of_row = at<int32_t>(base, sequence_of_row_);
  tables.first_row = at<int32_t>(base, first_row_);
  tables.rows_of_sequence = at<int32_t>(base, rows_of_sequence_);
  tables.context_tokens = at<int32_t>(base, context_tokens_);
  tables.block_tables = at<int32_t>(base, block_tables_);
  tables.logit_rows = at<int32_t>(base, logit_rows_);
  tables.rows_max = limits_.rows_max;
  tables.sequences_max = limits_.sequences_max;
  tables.logit_rows_max = limits_.logit_rows_max;
  tables.decode_max = limits_.sequences_max;
  return tables;
}

SampleRowParams* StepLayout::sample_rows(uint8_t* base) const {
  return at<SampleRowParams>(base, sample_rows_);
}

std::span<const uint8_t> StepLayout::pack(const StepBatch& batch, uint8_t* base) const {
  const auto n_rows = static_cast<int32_t>(batch.tokens.size());
  const auto n_sequences = static_cast<int32_t>(batch.sequences.size());
  const auto n_logit_rows = static_cast<int32_t>(batch.logit_rows.size());
  const int32_t stride = widest_table(batch);
  PARKD_CHECK(n_rows <= limits_.rows_max && n_sequences <= limits_.sequences_max &&
                  n_logit_rows <= limits_.logit_rows_max && stride <= limits_.blocks_max,
              "a step of more than the lane was made for");
  const HostTables to = {at<int32_t>(base, tokens_),           at<int32_t>(base, positions_),
                         at<int32_t>(base, sequence_of_row_),  at<int32_t>(base, first_row_),
                         at<int32_t>(base, rows_of_sequence_), at<int32_t>(base, context_tokens_),
                         at<int32_t>(base, block_tables_),     stride};
  std::copy(batch.tokens.begin(), batch.tokens.end(), to.tokens);
  std::copy(batch.logit_rows.begin(), batch.logit_rows.end(), at<int32_t>(base, logit_rows_));
  int32_t packed = 0;
  for (const StepSequence& sequence : batch.sequences) {
    if (sequence.n_rows == 1) pack_sequence(sequence, packed++, to);
  }
  const int32_t n_decode = packed;
  for (const StepSequence& sequence : batch.sequences) {
    if (sequence.n_rows != 1) pack_sequence(sequence, packed++, to);
  }
  *at<StepTables::Counts>(base, counts_) = {n_rows, n_sequences, n_logit_rows, n_decode, stride};
  const size_t end = block_tables_ + static_cast<size_t>(n_sequences) *
                                         static_cast<size_t>(stride) * sizeof(int32_t);
  return {base + counts_, end - counts_};
}

std::span<const uint8_t> StepLayout::pack_samples(std::span<const SampleRow> rows,
                                                  uint8_t* base) const {
  PARKD_CHECK(static_cast<int64_t>(rows.size()) <= limits_.logit_rows_max,
              "more sampled rows than the lane was made for");
  SampleRowParams* to = sample_rows(base);
  for (size_t i = 0; i < rows.size(); ++i) {
    const parkd::SamplingParams& params = *rows[i].params;
    to[i].temperature = params.temperature;
    to[i].top_p = params.top_p;
    to[i].min_p = params.min_p;
    to[i].top_k = params.top_k;
    to[i].seed = params.seed;
    to[i].choice_index = static_cast<uint32_t>(rows[i].choice_index);
    to[i].position = static_cast<uint32_t>(rows[i].position);
  }
  return {base + sample_rows_, rows.size() * sizeof(SampleRowParams)};
}

namespace {

// A row's edits, and a place behind them where the host has not seen its last token.
int32_t places_of(const SampleRow& row) {
  return static_cast<int32_t>(row.edits.size()) + (row.unseen_row < 0 ? 0 : 1);
}

// They are copied as they are.
static_assert(sizeof(LogitEdit) == sizeof(parkd::LogitEdit) &&
              offsetof(LogitEdit, token) == offsetof(parkd::LogitEdit, token) &&
              offsetof(LogitEdit, in_output) == offsetof(parkd::LogitEdit, in_output) &&
              offsetof(LogitEdit, bias) == offsetof(parkd::LogitEdit, bias));

}  // namespace

EditLayout::EditLayout(std::span<const SampleRow> rows) {
  for (const SampleRow& row : rows) n_edits_ += places_of(row);
  rows_ = take<LogitProcessorRow>(bytes_, static_cast<int64_t>(rows.size()));
  edits_ = take<LogitEdit>(bytes_, n_edits_);
}

LogitProcessorRow* EditLayout::rows(uint8_t* base) const {
  return at<LogitProcessorRow>(base, rows_);
}

LogitEdit* EditLayout::edits(uint8_t* base) const {
  return at<LogitEdit>(base, edits_);
}

void EditLayout::pack(std::span<const SampleRow> rows, uint8_t* base) const {
  int32_t next = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    const SampleRow& row = rows[i];
    const parkd::SamplingParams& params = *row.params;
    LogitProcessorRow& to = this->rows(base)[i];
    to.presence_penalty = params.presence_penalty;
    to.frequency_penalty = params.frequency_penalty;
    to.repetition_penalty = params.repetition_penalty;
    to.first_edit = next;
    to.n_edits = static_cast<int32_t>(row.edits.size());
    to.unseen_row = row.unseen_row;
    if (!row.edits.empty()) {
      std::memcpy(edits(base) + next, row.edits.data(), row.edits.size_bytes());
    }
    next += places_of(row);
  }
}

int32_t decode_bucket(int64_t n_sequences, int64_t most) {
  constexpr int32_t kBuckets[] = {1,  2,  3,  4,  6,   8,   12,  16,  24, 32,
                                  48, 64, 80, 96, 112, 128, 160, 192, 224};
  constexpr int64_t kMultiple = 64;  // above them
  const auto* bucket = std::lower_bound(std::begin(kBuckets), std::end(kBuckets), n_sequences);
  const int64_t size =
      bucket != std::end(kBuckets) ? *bucket : ceil_div(n_sequences, kMultiple) * kMultiple;
  return static_cast<int32_t>(std::min(size, std::max(n_sequences, most)));
}

bool is_decode(const StepBatch& batch) {
  return batch.sequences.size() == batch.tokens.size() &&
         batch.logit_rows.size() == batch.tokens.size();
}

}  // namespace parkd::cuda
