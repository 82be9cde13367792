// Sampling and log-probabilities on the device against the CPU's Sampler: the same tokens, always.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include "lib/model/sampler.h"
#include "tests/cuda/kernel_data.h"

namespace parkd::cuda {
namespace {

using testing::DeviceArray;
using testing::Errors;
using testing::finish;
using testing::kInfinity;
using testing::kNan;

struct Sampled {
  std::vector<float> logits;  // (rows, vocab)
  std::vector<parkd::SamplingParams> params;
  int32_t vocab = 0;

  std::span<const float> row(size_t i) const {
    const auto n = static_cast<size_t>(vocab);
    return std::span<const float>(logits).subspan(i * n, n);
  }
  SampleRow how(size_t i) const {
    return {&params[i], static_cast<int32_t>(i % 3), static_cast<int32_t>(7 * i)};
  }
};

std::vector<int32_t> sample_on_device(const Sampled& in, int32_t spare) {
  std::vector<SampleRowParams> rows;
  for (size_t i = 0; i < in.params.size(); ++i) {
    const parkd::SamplingParams& p = in.params[i];
    const SampleRow how = in.how(i);
    rows.push_back({p.temperature, p.top_p, p.min_p, p.top_k, p.seed,
                    static_cast<uint32_t>(how.choice_index), static_cast<uint32_t>(how.position)});
  }
  const auto n_rows = static_cast<int32_t>(rows.size());
  const testing::RowCount count(n_rows);
  const DeviceArray<float> logits(in.logits);
  const DeviceArray<SampleRowParams> row_array(rows);
  const DeviceArray<uint8_t> workspace(
      static_cast<size_t>(sampling_workspace_bytes(n_rows + spare, in.vocab)));
  const DeviceArray<int32_t> tokens(
      std::vector<int32_t>(rows.size() + static_cast<size_t>(spare), -7));
  finish(launch_sampling({count.get(), n_rows + spare, in.vocab, logits.get(), row_array.get(),
                          workspace.get(), tokens.get()},
                         nullptr));
  std::vector<int32_t> got = tokens.read();
  for (int32_t i = 0; i < spare; ++i) {
    EXPECT_EQ(got.back(), -7);
    got.pop_back();
  }
  return got;
}

std::string described(const Sampled& in, size_t i) {
  const parkd::SamplingParams& p = in.params[i];
  return "vocab " + std::to_string(in.vocab) + " row " + std::to_string(i) + " temperature " +
         std::to_string(p.temperature) + " top_k " + std::to_string(p.top_k) + " top_p " +
         std::to_string(p.top_p) + " min_p " + std::to_string(p.min_p);
}

void expect_the_cpus_tokens(const Sampled& in, Errors& errors) {
  Sampler sampler(in.vocab);
  const std::vector<int32_t> got = sample_on_device(in, 2);
  for (size_t i = 0; i < in.params.size(); ++i) {
    SampledToken wanted;
    sampler.sample_row(in.row(i), in.how(i), wanted);
    errors.check(static_cast<float>(got[i]), wanted.token, described(in, i));
  }
}

template <class T>
T one_of(std::mt19937_64& random, std::initializer_list<T> values) {
  return values.begin()[random() % values.size()];
}

parkd::SamplingParams random_params(std::mt19937_64& random, int32_t vocab) {
  parkd::SamplingParams params;
  params.temperature = one_of(random, {0.0F, 1e-6F, 0.1F, 0.7F, 1.0F, 1.0F, 2.0F});
  params.top_k = one_of(random, {0, 0, 0, 1, 2, 5, 50, vocab - 1, vocab, vocab + 10});
  params.top_k = std::max(params.top_k, 0);
  params.top_p = one_of(random, {1.0F, 1.0F, 0.999F, 0.9F, 0.5F, 0.1F, 1e-6F});
  params.min_p = one_of(random, {0.0F, 0.0F, 0.05F, 0.5F, 1.0F});
  params.seed = random();
  return params;
}

// Rows of every kind: smooth, peaked, with many ties, with impossible tokens, far out.
std::vector<float> random_row(std::mt19937_64& random, int32_t vocab) {
  const float sigma = one_of(random, {0.01F, 1.0F, 3.0F, 8.0F});
  std::vector<float> row = testing::random_floats(random, vocab, sigma);
  switch (random() % 7) {
    case 0:  // near-ties: steps of an ulp or two around one value
      for (float& x : row) x = 11.0F + static_cast<float>(random() % 5) * 0x1p-20F;
      break;
    case 1:  // ties
      for (float& x : row) x = std::round(x * 2) / 2;
      break;
    case 2:  // impossible tokens
      for (float& x : row) x = random() % 4 == 0 ? x : -kInfinity;
      row[random() % row.size()] = -3.0F;
      break;
    case 3:  // zeros of both signs
      for (float& x : row) x = random() % 3 == 0 ? 0.0F : random() % 2 == 0 ? -0.0F : -1.0F;
      break;
    case 4:  // one far above
      row[random() % row.size()] = 200.0F;
      break;
    default:
      break;
  }
  return row;
}

TEST(CudaSampling, chooses_the_cpus_tokens_in_every_way) {
  std::mt19937_64 random(testing::fresh_seed());
  Errors errors("sampling, tokens", 0, 0);
  for (const int32_t vocab : {1, 2, 63, 64, 65, 1000, 4096, 4097, 49153}) {
    Sampled in;
    in.vocab = vocab;
    const int n_rows = vocab > 40000 ? 24 : 60;
    for (int i = 0; i < n_rows; ++i) {
      const std::vector<float> row = random_row(random, vocab);
      in.logits.insert(in.logits.end(), row.begin(), row.end());
      in.params.push_back(random_params(random, vocab));
    }
    expect_the_cpus_tokens(in, errors);
  }
}

TEST(CudaSampling, answers_minus_one_for_rows_that_cannot_be_sampled_and_harms_no_other) {
  std::mt19937_64 random(testing::fresh_seed());
  Errors errors("sampling, tokens", 0, 0);
  const int32_t vocab = 4133;
  Sampled in;
  in.vocab = vocab;
  const float negative_nan = -kNan;
  for (int i = 0; i < 12; ++i) {
    std::vector<float> row = testing::random_floats(random, vocab, 2.0F);
    const size_t at = random() % row.size();
    if (i == 0) row[at] = kNan;
    if (i == 2) row[at] = negative_nan;
    if (i == 4) row[at] = kInfinity;
    if (i == 6) std::fill(row.begin(), row.end(), -kInfinity);
    if (i == 8) std::fill(row.begin(), row.end(), 1.5F);
    if (i == 10) row.back() = kNan;
    in.logits.insert(in.logits.end(), row.begin(), row.end());
    in.params.push_back(random_params(random, vocab));
  }
  const std::vector<int32_t> got = sample_on_device(in, 0);
  for (const size_t i : {0, 2, 4, 6, 10}) EXPECT_EQ(got[i], -1) << i;
  expect_the_cpus_tokens(in, errors);
}

TEST(CudaSampling, draws_over_the_whole_vocabulary_like_the_cpu) {
  // All-equal logits: the choice is the noise itself, up to the last id.
  std::mt19937_64 random(testing::fresh_seed());
  Errors errors("sampling, tokens", 0, 0);
  Sampled in;
  in.vocab = 257;
  in.logits.assign(static_cast<size_t>(in.vocab) * 400, -2.25F);
  for (int i = 0; i < 400; ++i) {
    parkd::SamplingParams params;
    params.seed = random();
    params.top_p = i % 3 == 0 ? 0.5F : 1.0F;
    params.top_k = i % 5 == 0 ? 100 : 0;
    in.params.push_back(params);
  }
  expect_the_cpus_tokens(in, errors);
}

TEST(CudaSampling, top_p_a_hair_above_one_tokens_share_keeps_a_second_one) {
  // n equal tokens weigh 2^30 each: top_p = 1 / n as a float wants less than one unit of weight
  // more than the first of them has, for the n whose 1 / n is rounded up by so little.
  std::mt19937_64 random(testing::fresh_seed());
  Errors errors("sampling, tokens", 0, 0);
  int n_cases = 0;
  for (int32_t n = 3; n < 3000; ++n) {
    const float top_p = 1.0F / static_cast<float>(n);
    const double excess = (double{top_p} * n - 1) * 0x1p30;
    if (excess <= 0 || excess >= 1) continue;
    ++n_cases;
    Sampled in;
    in.vocab = n;
    in.logits.assign(static_cast<size_t>(n) * 8, 0.5F);
    for (int i = 0; i < 8; ++i) {
      parkd::SamplingParams params;
      params.top_p = top_p;
      params.seed = random();
      in.params.push_back(params);
    }
    expect_the_cpus_tokens(in, errors);
  }
  EXPECT_GT(n_cases, 0);
}

TEST(CudaLogprobs, are_the_cpus_within_rounding_and_their_ids_exactly) {
  std::mt19937_64 random(testing::fresh_seed());
  for (const int32_t vocab : {1, 5, 64, 1000, 49153}) {
    for (const int32_t top : {0, 1, 5, 20}) {
      // Sums of exponentials within 2 ulp, in float and double; |log-probability| up to 240.
      Errors errors("logprobs", 1e-7, 2e-6);
      Sampled in;
      in.vocab = vocab;
      for (int i = 0; i < 5; ++i) {
        std::vector<float> row = random_row(random, vocab);
        if (i == 2) row[0] = kNan;
        in.logits.insert(in.logits.end(), row.begin(), row.end());
        in.params.push_back(random_params(random, vocab));
        in.params.back().logprobs = true;
        in.params.back().top_logprobs = top;
      }
      const std::vector<int32_t> sampled = sample_on_device(in, 0);
      const size_t n = in.params.size();
      const testing::RowCount count(static_cast<int32_t>(n));
      const DeviceArray<float> logits(in.logits);
      const DeviceArray<int32_t> tokens(sampled);
      const DeviceArray<float> logprob(n);
      const DeviceArray<int32_t> top_tokens(n * static_cast<size_t>(top));
      const DeviceArray<float> top_logprobs(n * static_cast<size_t>(top));
      finish(
          launch_logprobs({count.get(), static_cast<int32_t>(n) + 1, vocab, logits.get(),
                           tokens.get(), logprob.get(), top, top_tokens.get(), top_logprobs.get()},
                          nullptr));
      const std::vector<float> got = logprob.read();
      const std::vector<int32_t> got_tokens = top_tokens.read();
      const std::vector<float> got_logprobs = top_logprobs.read();
      Sampler sampler(vocab);
      for (size_t i = 0; i < n; ++i) {
        SampledToken wanted;
        sampler.sample_row(in.row(i), in.how(i), wanted);
        ASSERT_EQ(sampled[i], wanted.token) << described(in, i);
        errors.check(got[i], double{wanted.logprob}, described(in, i));
        for (size_t k = 0; k < static_cast<size_t>(top); ++k) {
          const size_t at = i * static_cast<size_t>(top) + k;
          const bool exists = k < wanted.top.size();
          ASSERT_EQ(got_tokens[at], exists ? wanted.top[k].token : -1)
              << described(in, i) << " alternative " << k;
          errors.check(got_logprobs[at], exists ? double{wanted.top[k].logprob} : 0.0,
                       described(in, i));
        }
      }
    }
  }
}

// Rows of every kind: without edits, with biases alone, with counts; whose last token the host has
// seen, or not and it has an edit, or none, or its row failed.
struct Edited {
  int32_t vocab = 0;
  std::vector<parkd::SamplingParams> params;
  std::vector<std::vector<parkd::LogitEdit>> edits;
  std::vector<int32_t> unseen_row;
  std::vector<int32_t> sampled;
};

Edited random_edits(std::mt19937_64& random, int32_t vocab, int32_t n_rows) {
  std::uniform_real_distribution<float> uniform(-2.0F, 2.0F);
  Edited in;
  in.vocab = vocab;
  std::vector<int32_t> ids(static_cast<size_t>(vocab));
  std::iota(ids.begin(), ids.end(), 0);
  for (int32_t r = 0; r < n_rows; ++r) {
    parkd::SamplingParams params;
    params.presence_penalty = uniform(random);
    params.frequency_penalty = uniform(random);
    params.repetition_penalty = r % 3 == 0 ? 1.0F : std::exp(uniform(random));
    in.params.push_back(params);
    std::shuffle(ids.begin(), ids.end(), random);
    std::vector<parkd::LogitEdit> edits;
    const size_t n_edits = r % 5 == 0 ? 0 : random() % (ids.size() / 2);
    for (size_t i = 0; i < n_edits; ++i) {
      const auto in_output = static_cast<int32_t>(random() % 6) - 1;
      edits.push_back({ids[i], in_output, random() % 2 == 0 ? 0 : 50 * uniform(random)});
    }
    in.edits.push_back(edits);
    in.unseen_row.push_back(r % 2 == 0 ? -1 : static_cast<int32_t>(in.sampled.size()));
    const bool is_known = r % 4 == 1 && !edits.empty();
    in.sampled.push_back(r == 7 ? -1 : is_known ? edits[random() % n_edits].token : ids.back());
  }
  return in;
}

// What the CPU makes of them, the unseen tokens counted.
std::vector<float> edited_on_cpu(const Edited& in, std::vector<float> logits) {
  for (size_t r = 0; r < in.params.size(); ++r) {
    std::vector<parkd::LogitEdit> edits = in.edits[r];
    const int32_t unseen =
        in.unseen_row[r] < 0 ? -1 : in.sampled[static_cast<size_t>(in.unseen_row[r])];
    const auto known = std::find_if(edits.begin(), edits.end(),
                                    [unseen](const auto& edit) { return edit.token == unseen; });
    if (known != edits.end()) {
      known->in_output = std::max(known->in_output, 0) + 1;
    } else if (unseen >= 0) {
      edits.push_back({unseen, 1, 0});
    }
    for (const parkd::LogitEdit& edit : edits) {
      float& logit = logits[r * static_cast<size_t>(in.vocab) + static_cast<size_t>(edit.token)];
      logit = edited_logit(logit, edit, in.params[r]);
    }
  }
  return logits;
}

TEST(CudaLogitProcessors, give_the_cpus_bits_and_then_the_raw_logits_back) {
  std::mt19937_64 random(testing::fresh_seed());
  Errors errors("logit_processors", 0, 0);  // of the CPU's float formula
  for (const int32_t vocab : {4, 1001, 5000}) {
    const int32_t n_rows = 24;
    const Edited in = random_edits(random, vocab, n_rows);
    std::vector<float> raw = testing::random_floats(random, int64_t{n_rows} * vocab, 3.0F);
    raw[3] = -kInfinity;
    raw[static_cast<size_t>(vocab)] = kNan;
    std::vector<LogitProcessorRow> rows;
    std::vector<LogitEdit> edits;
    for (size_t r = 0; r < in.params.size(); ++r) {
      rows.push_back({in.params[r].presence_penalty, in.params[r].frequency_penalty,
                      in.params[r].repetition_penalty, static_cast<int32_t>(edits.size()),
                      static_cast<int32_t>(in.edits[r].size()), in.unseen_row[r]});
      for (const parkd::LogitEdit& edit : in.edits[r]) {
        edits.push_back({edit.token, edit.in_output, edit.bias});
      }
      if (in.unseen_row[r] >= 0) edits.push_back({1 << 30, 1 << 30, kNan});  // the unseen's place
    }
    const testing::RowCount count(n_rows);
    const DeviceArray<float> logits(raw);
    const DeviceArray<LogitProcessorRow> row_array(rows);
    const DeviceArray<LogitEdit> edit_array(edits);
    const DeviceArray<int32_t> sampled(in.sampled);
    const LogitProcessorParams params = {count.get(),  n_rows + 3,      vocab,
                                         logits.get(), row_array.get(), edit_array.get(),
                                         sampled.get()};
    const auto expect_bits = [&](const std::vector<float>& wanted, const char* what) {
      const std::vector<float> got = logits.read();
      for (size_t i = 0; i < got.size(); ++i) {
        ASSERT_EQ(std::bit_cast<uint32_t>(got[i]), std::bit_cast<uint32_t>(wanted[i]))
            << what << ": vocab " << vocab << " row " << i / static_cast<size_t>(vocab) << " token "
            << i % static_cast<size_t>(vocab);
        if (!std::isnan(wanted[i])) errors.check(got[i], double{wanted[i]}, what);
      }
    };
    finish(launch_logit_processors(params, nullptr));
    expect_bits(edited_on_cpu(in, raw), "edited");
    finish(launch_restore_logits(params, nullptr));
    expect_bits(raw, "restored");
  }
}

}  // namespace
}  // namespace parkd::cuda
