// The logits a model gives along a text that is given to it, position by position.
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include "lib/base/units.h"
#include "lib/model/backend.h"
#include "lib/model/model.h"
#include "lib/model/model_card.h"

namespace parkd::testing {

class TeacherForcing {
 public:
  // Takes `tokens_max` tokens at most, in steps of `step_tokens`.
  TeacherForcing(const ModelCard& card, std::unique_ptr<Backend> backend, int32_t tokens_max,
                 int32_t step_tokens)
      : backend_(std::move(backend)),
        model_(card.shape, load_weights(card, *backend_, nullptr).value()),
        step_tokens_(step_tokens),
        blocks_(static_cast<size_t>(ceil_div(tokens_max, kBlockSize))) {
    PARKD_CHECK(backend_->allocate_kv(static_cast<int64_t>(blocks_.size()), kBlockSize).ok(), "kv");
    std::iota(blocks_.rbegin(), blocks_.rend(), 0);
    lane_ = backend_->make_lane().value();
    buffers_ = model_.make_buffers(*lane_, step_tokens, step_tokens);
  }

  // Row i: the logits after tokens[0 .. first + i], for every position from `first` on.
  std::vector<std::vector<float>> logits(std::span<const TokenId> tokens, int32_t first) {
    std::vector<std::vector<float>> rows;
    const auto n_tokens = static_cast<int32_t>(tokens.size());
    for (int32_t at = 0; at < n_tokens; at += step_tokens_) {
      const int32_t n = std::min(step_tokens_, n_tokens - at);
      const StepSequence sequence{0, n, at, blocks_};
      std::vector<int32_t> wanted;
      for (int32_t row = std::max(0, first - at); row < n; ++row) wanted.push_back(row);
      model_.forward(*lane_, buffers_,
                     {tokens.subspan(static_cast<size_t>(at), static_cast<size_t>(n)),
                      {&sequence, 1},
                      wanted});
      for (size_t row = 0; row < wanted.size(); ++row) {
        rows.emplace_back(static_cast<size_t>(model_.shape().vocab));
        lane_->read_row(buffers_.logits, static_cast<int64_t>(row), rows.back());
      }
      lane_->end_step();
      PARKD_CHECK(lane_->collect({}).ok(), "the step did not fail");
    }
    return rows;
  }

 private:
  static constexpr int32_t kBlockSize = 32;
  std::unique_ptr<Backend> backend_;
  Model model_;
  int32_t step_tokens_;
  std::vector<int32_t> blocks_;
  std::unique_ptr<Lane> lane_;
  ModelBuffers buffers_;
};

// Natural logarithms of the softmax, in double.
inline std::vector<double> log_softmax(std::span<const float> logits) {
  const double top = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - top);
  const double log_sum = top + std::log(sum);
  std::vector<double> out;
  out.reserve(logits.size());
  for (const float logit : logits) out.push_back(logit - log_sum);
  return out;
}

}  // namespace parkd::testing
