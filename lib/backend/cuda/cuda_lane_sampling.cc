// CudaLane's end of a step: edits, sampling, log-probabilities.
#include <algorithm>

#include "lib/backend/cuda/cuda_lane.h"

namespace parkd::cuda {
namespace {

// The most alternatives that a row asks for; -1 where none wants log-probabilities.
int32_t top_logprobs_of(std::span<const parkd::SamplingParams* const> rows) {
  int32_t top = -1;
  for (const parkd::SamplingParams* params : rows) {
    if (params->logprobs || params->top_logprobs > 0) top = std::max(top, params->top_logprobs);
  }
  return top;
}

}  // namespace

Status CudaLane::run_sampling(Buffer logits) {
  SamplingParams params = {};
  params.n_rows = &step_.counts->n_logit_rows;
  params.rows_max = step_.logit_rows_max;
  params.vocab = shape_.vocab;
  params.logits = rows_of(logits).floats.as<float>();
  params.rows = layout_->sample_rows(step_memory_.as<uint8_t>());
  params.workspace = sampling_workspace_.as<void>();
  params.tokens = sampled_.as<int32_t>();
  return to_status(launch_sampling(params, stream_.get()), "sampling");
}

void CudaLane::sample(Buffer logits, std::span<const SampleRow> rows) {
  HostStep& step = host_step();
  step.params.clear();
  for (const SampleRow& row : rows) step.params.push_back(row.params);
  if (failure_.ok()) note(finish_sampling(step, logits, rows));
  next_host_step_ = (next_host_step_ + 1) % host_steps_.size();
}

// What comes behind the graph is launched as it is called.
Status CudaLane::launch_graph() {
  std::optional<Graph>& graph = graphs_.at(bucket_).graph;
  if (mode_ == Mode::capturing) {
    PARKD_ASSIGN_OR_RETURN(graph, Graph::end(stream_));
  }
  PARKD_RETURN_IF_ERROR(graph->launch(stream_));
  mode_ = Mode::eager;
  return {};
}

Status CudaLane::finish_sampling(HostStep& step, Buffer logits, std::span<const SampleRow> rows) {
  if (mode_ != Mode::eager) {
    PARKD_RETURN_IF_ERROR(launch_graph());
  } else if (options_.graphs && decodes_) {
    graphs_.try_emplace(bucket_);
  }
  PARKD_RETURN_IF_ERROR(copy_to_device(layout_->pack_samples(rows, step.packed.data()), step));
  const EditLayout edits(rows);
  if (!edits.empty()) PARKD_RETURN_IF_ERROR(edit_logits(step, logits, edits, rows));
  PARKD_RETURN_IF_ERROR(run_sampling(logits));
  PARKD_RETURN_IF_ERROR(to_status(
      cudaMemcpyAsync(step.tokens.as<void>(), sampled_.as<void>(), rows.size() * sizeof(int32_t),
                      cudaMemcpyDeviceToHost, stream_.get()),
      "copying tokens"));
  step.top = top_logprobs_of(step.params);
  if (step.top >= 0 && !edits.empty()) {
    PARKD_RETURN_IF_ERROR(
        to_status(launch_restore_logits(edit_params(logits, edits), stream_.get()), "raw logits"));
  }
  if (step.top >= 0) PARKD_RETURN_IF_ERROR(copy_logprobs(step, logits));
  return step.done.record(stream_);
}

LogitProcessorParams CudaLane::edit_params(Buffer logits, const EditLayout& layout) {
  LogitProcessorParams params = {};
  params.n_rows = &step_.counts->n_logit_rows;
  params.rows_max = step_.logit_rows_max;
  params.vocab = shape_.vocab;
  params.logits = rows_of(logits).floats.as<float>();
  params.rows = layout.rows(edits_.as<uint8_t>());
  params.edits = layout.edits(edits_.as<uint8_t>());
  params.sampled = sampled_.as<int32_t>();
  return params;
}

// Penalties and biases, as uploaded by this step. The device's memory is reused and freed in the
// stream's order, the pinned copy is this step's own until it is collected.
Status CudaLane::edit_logits(HostStep& step, Buffer logits, const EditLayout& layout,
                             std::span<const SampleRow> rows) {
  const size_t bytes = layout.bytes();
  if (step.edits.bytes() < bytes) {
    PARKD_ASSIGN_OR_RETURN(step.edits, PinnedBuffer::make(2 * bytes));
  }
  if (edits_.bytes() < bytes) {
    PARKD_ASSIGN_OR_RETURN(edits_, DeviceBuffer::make(2 * bytes, stream_));
  }
  layout.pack(rows, step.edits.data());
  PARKD_RETURN_IF_ERROR(to_status(cudaMemcpyAsync(edits_.as<void>(), step.edits.data(), bytes,
                                                  cudaMemcpyHostToDevice, stream_.get()),
                                  "copying penalties and biases"));
  return to_status(launch_logit_processors(edit_params(logits, layout), stream_.get()),
                   "penalties and biases");
}

Status CudaLane::copy_logprobs(HostStep& step, Buffer logits) {
  const LogprobLayout layout{logit_rows_max_};
  auto* device = logprobs_.as<uint8_t>();
  LogprobParams params = {};
  params.n_rows = &step_.counts->n_logit_rows;
  params.rows_max = step_.logit_rows_max;
  params.vocab = shape_.vocab;
  params.logits = rows_of(logits).floats.as<float>();
  params.tokens = sampled_.as<int32_t>();
  params.logprob = layout.chosen(device);
  params.top = step.top;
  params.top_tokens = layout.top_tokens(device);
  params.top_logprobs = layout.top_logprobs(device);
  PARKD_RETURN_IF_ERROR(to_status(launch_logprobs(params, stream_.get()), "log-probabilities"));
  return to_status(cudaMemcpyAsync(step.logprobs.as<void>(), device, layout.bytes(),
                                   cudaMemcpyDeviceToHost, stream_.get()),
                   "copying log-probabilities");
}

void CudaLane::read_logprobs(const HostStep& step, std::span<SampledToken> out) const {
  const LogprobLayout layout{logit_rows_max_};
  const float* chosen = layout.chosen(step.logprobs.data());
  const int32_t* top_tokens = layout.top_tokens(step.logprobs.data());
  const float* top_logprobs = layout.top_logprobs(step.logprobs.data());
  for (size_t i = 0; i < out.size(); ++i) {
    const parkd::SamplingParams& params = *step.params[i];
    if (out[i].token < 0) continue;
    if (params.logprobs) out[i].logprob = chosen[i];
    const size_t first = i * static_cast<size_t>(step.top);
    for (int32_t t = 0; t < params.top_logprobs; ++t) {
      const size_t at = first + static_cast<size_t>(t);
      if (top_tokens[at] < 0) break;  // fewer tokens were possible
      out[i].top.push_back({top_tokens[at], top_logprobs[at]});
    }
  }
}

}  // namespace parkd::cuda
