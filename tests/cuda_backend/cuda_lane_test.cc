// CudaLane alone: which steps are captured and replayed, and that they compute the same.
#include "lib/backend/cuda/cuda_lane.h"

#include <cublas_v2.h>
#include <gtest/gtest.h>

#include <random>
#include <set>
#include <vector>

#include "lib/backend/cuda/step_tables.h"
#include "lib/model/model.h"
#include "testing.h"
#include "tests/cuda_backend/cuda_rig.h"
#include "tests/cuda_backend/emulated_cublas.h"

namespace parkd {
namespace {

using testing::backend_options;
using testing::kBlockSize;
using testing::printed_seed;
using testing::tiny_card;

constexpr int32_t kSequences = 8;

// A lane whose sequences have one block each and decode what the test says.
class DecodingLane {
 public:
  DecodingLane(const ModelCard& card, bool graphs)
      : backend_(make_cuda_backend(backend_options(card, Dtype::f32, {"lane", 1, 0, 8, graphs}))
                     .value()),
        model_(card.shape, load_weights(card, *backend_, nullptr).value()) {
    EXPECT_TRUE(backend_->allocate_kv(kSequences, kBlockSize).ok());
    lane_ = backend_->make_lane().value();
    buffers_ = model_.make_buffers(*lane_, kSequences, kSequences);
    for (int32_t i = 0; i < kSequences; ++i) blocks_.push_back(i);
  }

  // One token for each of the first `tokens.size()` sequences, at `position`; what is sampled.
  std::vector<TokenId> decode(const std::vector<TokenId>& tokens, int32_t position) {
    std::vector<TokenId> out;
    const Status status = try_decode(tokens, position, out);
    EXPECT_TRUE(status.ok()) << status.to_string();
    return out;
  }
  Status try_decode(const std::vector<TokenId>& tokens, int32_t position,
                    std::vector<TokenId>& out) {
    std::vector<StepSequence> sequences;
    std::vector<int32_t> rows;
    for (int32_t i = 0; i < static_cast<int32_t>(tokens.size()); ++i) {
      sequences.push_back({i, 1, position, {&blocks_[static_cast<size_t>(i)], 1}});
      rows.push_back(i);
    }
    model_.forward(*lane_, buffers_, {tokens, sequences, rows});
    const std::vector<SampleRow> samples(tokens.size(), SampleRow{&params_, 0, position + 1});
    lane_->sample(buffers_.logits, samples);
    std::vector<SampledToken> sampled(tokens.size());
    const Status status = lane_->collect(sampled);
    for (const SampledToken& token : sampled) out.push_back(token.token);
    return status;
  }

  int64_t graphs() const { return dynamic_cast<cuda::CudaLane&>(*lane_).graphs_captured(); }

 private:
  std::unique_ptr<Backend> backend_;
  const Model model_;
  std::unique_ptr<Lane> lane_;
  ModelBuffers buffers_;
  std::vector<int32_t> blocks_;
  const SamplingParams params_ = [] {
    SamplingParams params;
    params.temperature = 0;
    return params;
  }();
};

// Seven sequences are computed as eight, five as six: rows that nobody has harm none that somebody
// has.
TEST(CudaLane, each_bucket_runs_once_is_captured_once_and_then_replayed_to_the_same_tokens) {
  const auto card = tiny_card(TensorType::q4_1);
  std::mt19937_64 random(printed_seed());
  DecodingLane with_graphs(*card, true);
  DecodingLane without(*card, false);
  const int64_t cold = testing::n_products_captured_cold();
  int32_t position = 0;
  int64_t n_graphs = 0;
  for (const size_t n_sequences : {7U, 1U, 5U}) {
    ++n_graphs;
    int64_t calls_eager = 0;
    for (int32_t step = 0; step < 4; ++step) {
      const auto tokens = testing::random_prompt(random, *card, static_cast<int32_t>(n_sequences));
      const int64_t before = cuda_emulator::n_calls();
      const auto sampled = with_graphs.decode(tokens, position);
      const int64_t n_calls = cuda_emulator::n_calls() - before;
      if (step == 0) calls_eager = n_calls;
      if (step >= 2) {
        EXPECT_LT(n_calls * 2, calls_eager) << n_sequences << " sequences, a replay";
      }
      EXPECT_EQ(with_graphs.graphs(), step == 0 ? n_graphs - 1 : n_graphs);
      EXPECT_EQ(sampled, without.decode(tokens, position));
      ++position;
    }
  }
  EXPECT_EQ(without.graphs(), 0);
  EXPECT_GE(testing::n_products_captured(), n_graphs);
  EXPECT_EQ(testing::n_products_captured_cold(), cold)
      << "a product was captured that never ran with its shape";
}

// What failed was no graph's, so the bucket keeps its own: only the step that comes next does
// without.
TEST(CudaLane, after_a_failure_one_step_runs_without_graphs_and_the_next_with_them) {
  const auto card = tiny_card(TensorType::q4_1);
  std::mt19937_64 random(printed_seed());
  DecodingLane with_graphs(*card, true);
  DecodingLane without(*card, false);
  const auto tokens = testing::random_prompt(random, *card, 3);
  const auto launches_of = [&](int32_t position) {
    const int64_t before = cuda_emulator::n_calls_by_name()["cudaGraphLaunch"];
    EXPECT_EQ(with_graphs.decode(tokens, position), without.decode(tokens, position));
    return cuda_emulator::n_calls_by_name()["cudaGraphLaunch"] - before;
  };
  for (int32_t position = 0; position < 3; ++position) (void)launches_of(position);
  EXPECT_EQ(launches_of(3), 1);
  for (const char* behind_the_graph : {"cudaEventRecord", "cudaEventSynchronize"}) {
    cuda_emulator::inject({behind_the_graph, 1, cudaErrorInvalidResourceHandle});
    std::vector<TokenId> out;
    EXPECT_EQ(with_graphs.try_decode(tokens, 4, out).code(), StatusCode::internal);
    EXPECT_EQ(launches_of(4), 0) << behind_the_graph;
    EXPECT_EQ(launches_of(5), 1) << behind_the_graph;
  }
  EXPECT_EQ(with_graphs.graphs(), 1);
}

// The capture is open when it happens, whether it is still good or not.
TEST(CudaLane, what_fails_inside_a_capture_leaves_a_lane_that_computes_without) {
  const auto card = tiny_card(TensorType::q4_1);
  std::mt19937_64 random(printed_seed());
  DecodingLane without(*card, false);
  const auto tokens = testing::random_prompt(random, *card, 3);
  for (const cuda_emulator::Fault& fault :
       {cuda_emulator::Fault{"cublasGemmEx", 2, CUBLAS_STATUS_NOT_SUPPORTED},
        cuda_emulator::Fault{"cudaLaunchKernelEx", 1, cudaErrorLaunchOutOfResources},
        cuda_emulator::Fault{"cudaLaunchKernelEx", 5, cudaErrorStreamCaptureInvalidated},
        cuda_emulator::Fault{"cudaLaunchKernelEx", 7, cudaErrorMemoryAllocation}}) {
    SCOPED_TRACE(fault.call + " " + std::to_string(fault.code));
    DecodingLane lane(*card, true);
    EXPECT_EQ(lane.decode(tokens, 0), without.decode(tokens, 0));
    cuda_emulator::inject(fault);
    std::vector<TokenId> out;
    EXPECT_EQ(lane.try_decode(tokens, 1, out).code(), StatusCode::internal);
    cuda_emulator::inject_nothing();
    for (int32_t position = 1; position < 5; ++position) {
      EXPECT_EQ(lane.decode(tokens, position), without.decode(tokens, position));
    }
    EXPECT_EQ(lane.graphs(), 0);
  }
}

TEST(CudaLane, a_bucket_holds_its_batch_and_half_more_at_most) {
  for (int64_t n = 1; n <= 1024; ++n) {
    const int32_t bucket = cuda::decode_bucket(n, 2048);
    ASSERT_GE(bucket, n);
    ASSERT_LE(bucket * 2, n * 3);
    ASSERT_EQ(cuda::decode_bucket(bucket, 2048), bucket);
    ASSERT_EQ(cuda::decode_bucket(n, n), n) << "no more rows than there may be";
  }
  std::set<int32_t> large;
  for (int64_t n = 257; n <= 1024; ++n) large.insert(cuda::decode_bucket(n, 1024));
  EXPECT_EQ(large.size(), 12U) << "a graph for each 64, not for each size";
}

}  // namespace
}  // namespace parkd
