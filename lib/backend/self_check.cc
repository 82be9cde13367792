#include "lib/backend/self_check.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "lib/backend/cpu/cpu_backend.h"
#include "lib/base/thread.h"
#include "lib/base/units.h"
#include "lib/engine/model.h"

namespace parkd {
namespace {

constexpr int32_t kBlockSize = 32;
constexpr int32_t kTop = 5;
constexpr int32_t kSequences = 2;
constexpr int32_t kPromptTokens[kSequences] = {kBlockSize + 8, 5};
constexpr int32_t kFirstChunk = kBlockSize + 1;
constexpr int32_t kDecodeSteps = 3;  // eager, captured, replayed
constexpr int64_t kSmallParameters = 500'000'000;
constexpr int32_t kLayersOfLarge = 2;
constexpr double kContrastMin = 0.01;  // nat; below, texts cannot be told apart

// What one sequence's step was answered with: the best tokens, best first.
using Answer = std::vector<TokenLogprob>;

// Plain prose: models are sure of it, so rounding shows little and mistakes show much.
constexpr std::string_view kText[kSequences] = {
    "The river Thames flows through London to the North Sea. The river Seine flows through Paris "
    "to the English Channel. The river Danube flows through Vienna, Budapest and Belgrade to the "
    "Black Sea. The river Nile flows through Cairo to the Mediterranean Sea.",
    "One, two, three, four, five, six, seven, eight, nine, ten."};

// The first `n` tokens of a text, from its start again where it is too short.
std::vector<TokenId> tokens_of(const ModelCard& card, std::string_view text, int32_t n) {
  const std::vector<TokenId> all = card.tokenizer->encode(text, SpecialTokens::as_text).value();
  std::vector<TokenId> tokens;
  for (int32_t i = 0; i < n; ++i) tokens.push_back(all[static_cast<size_t>(i) % all.size()]);
  return tokens;
}

ModelCard first_layers(const ModelCard& card, int32_t n_layers) {
  ModelCard cut = card;
  cut.shape.n_layers = n_layers;
  cut.tensors.layers.resize(static_cast<size_t>(n_layers));
  return cut;
}

// Feeds the text to a backend, step by step, and keeps what it would say next.
class Probe {
 public:
  static Result<std::unique_ptr<Probe>> make(const ModelCard& card,
                                             std::unique_ptr<Backend> backend) {
    std::unique_ptr<Probe> probe(new Probe);
    probe->backend_ = std::move(backend);
    PARKD_ASSIGN_OR_RETURN(ModelWeights weights, load_weights(card, *probe->backend_));
    probe->model_ = std::make_unique<Model>(card.shape, std::move(weights));
    int32_t next_block = 0;
    for (int32_t s = 0; s < kSequences; ++s) {
      const int32_t n_tokens = kPromptTokens[s] + kDecodeSteps;
      probe->tokens_[s] = tokens_of(card, kText[s], n_tokens);
      for (int64_t b = 0; b < ceil_div(n_tokens, kBlockSize); ++b) {
        probe->tables_[s].push_back(next_block++);
      }
      std::reverse(probe->tables_[s].begin(), probe->tables_[s].end());  // not in order of memory
    }
    PARKD_RETURN_IF_ERROR(probe->backend_->allocate_kv(next_block, kBlockSize));
    PARKD_ASSIGN_OR_RETURN(probe->lane_, probe->backend_->make_lane());
    probe->buffers_ = probe->model_->make_buffers(*probe->lane_, 2 * kBlockSize, kSequences);
    return probe;
  }

  Result<std::vector<Answer>> run() {
    PARKD_RETURN_IF_ERROR(step({kFirstChunk, 0}));
    PARKD_RETURN_IF_ERROR(step({kPromptTokens[0] - kFirstChunk, kPromptTokens[1]}));
    for (int32_t i = 0; i < kDecodeSteps; ++i) PARKD_RETURN_IF_ERROR(step({1, 1}));
    return std::move(answers_);
  }

 private:
  Probe() = default;

  // Goes on by so many tokens of each sequence.
  Status step(const std::vector<int32_t>& n_tokens) {
    std::vector<TokenId> tokens;
    std::vector<StepSequence> sequences;
    std::vector<int32_t> logit_rows;
    std::vector<SampleRow> sample_rows;
    for (int32_t s = 0; s < kSequences; ++s) {
      const int32_t n = n_tokens[static_cast<size_t>(s)];
      if (n == 0) continue;
      sequences.push_back({static_cast<int32_t>(tokens.size()), n, done_[s], tables_[s]});
      for (int32_t i = 0; i < n; ++i) {
        tokens.push_back(tokens_[s][static_cast<size_t>(done_[s]++)]);
      }
      logit_rows.push_back(static_cast<int32_t>(tokens.size()) - 1);
      sample_rows.push_back({&greedy_, 0, done_[s]});
    }
    model_->forward(*lane_, buffers_, {tokens, sequences, logit_rows});
    lane_->sample(buffers_.logits, sample_rows);
    std::vector<SampledToken> sampled(sample_rows.size());
    PARKD_RETURN_IF_ERROR(lane_->collect(sampled));
    for (const SampledToken& row : sampled) answers_.push_back(row.top);
    return {};
  }

  static SamplingParams greedy() {
    SamplingParams params;
    params.temperature = 0;
    params.logprobs = true;
    params.top_logprobs = kTop;
    return params;
  }

  const SamplingParams greedy_ = greedy();
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Model> model_;
  std::unique_ptr<Lane> lane_;  // goes before its backend
  ModelBuffers buffers_;
  std::vector<TokenId> tokens_[kSequences];
  std::vector<int32_t> tables_[kSequences];
  int32_t done_[kSequences] = {};
  std::vector<Answer> answers_;
};

// Greatest difference between the two in what both have among their best; a token that one has
// alone counts as what it is below the other's last, at least.
double difference(const Answer& a, const Answer& b) {
  double worst = a.size() == b.size() && !a.empty() ? 0 : HUGE_VAL;
  for (const TokenLogprob& mine : a) {
    const auto same = std::find_if(b.begin(), b.end(), [&mine](const TokenLogprob& other) {
      return other.token == mine.token;
    });
    const double other = same != b.end() ? same->logprob : b.empty() ? 0 : b.back().logprob;
    const double gap =
        same != b.end() ? std::abs(mine.logprob - other) : std::max(0.0, mine.logprob - other);
    // NaN is no agreement.
    worst = gap <= worst ? worst : (std::isnan(gap) ? HUGE_VAL : gap);
  }
  return worst;
}

double worst_difference(const std::vector<Answer>& a, const std::vector<Answer>& b) {
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    worst = std::max({worst, difference(a[i], b[i]), difference(b[i], a[i])});
  }
  return worst;
}

// How far answers to different texts lie apart, on average.
double contrast_of(const std::vector<Answer>& answers) {
  double sum = 0;
  for (size_t i = 0; i + 1 < answers.size(); ++i) {
    sum += std::max(difference(answers[i], answers[i + 1]), difference(answers[i + 1], answers[i]));
  }
  return sum / static_cast<double>(answers.size() - 1);
}

Result<std::vector<Answer>> ask(const ModelCard& card, std::unique_ptr<Backend> backend) {
  PARKD_ASSIGN_OR_RETURN(const auto probe, Probe::make(card, std::move(backend)));
  return probe->run();
}

Result<std::vector<Answer>> ask_cpu(const ModelCard& card) {
  CpuBackendOptions options;
  options.shape = card.shape;
  options.dtype = Dtype::f32;
  options.team_size = usable_cores();
  PARKD_ASSIGN_OR_RETURN(std::unique_ptr<Backend> backend, make_cpu_backend(options));
  return ask(card, std::move(backend));
}

std::string figures(const SelfCheckReport& report) {
  return "log-probabilities differ by up to " + std::to_string(report.worst) +
         " nat, the limit is " + std::to_string(report.limit) + " (" +
         std::to_string(report.n_layers) + " layers, different texts differ by " +
         std::to_string(report.contrast) + ")";
}

}  // namespace

double self_check_limit(Dtype dtype) {
  return dtype == Dtype::f32 ? 0.01 : 0.25;
}

Result<SelfCheckReport> check_against_cpu(const ModelCard& card, Dtype dtype,
                                          const MakeBackend& make_candidate) {
  SelfCheckReport report;
  report.n_layers = card.n_parameters <= kSmallParameters
                        ? card.shape.n_layers
                        : std::min(card.shape.n_layers, kLayersOfLarge);
  const ModelCard cut = first_layers(card, report.n_layers);
  PARKD_ASSIGN_OR_RETURN(const std::vector<Answer> expected, ask_cpu(cut));
  report.contrast = contrast_of(expected);
  report.limit = self_check_limit(dtype) * report.contrast;
  if (!(report.contrast >= kContrastMin)) {
    return unavailable("self-check against the cpu says nothing: " + figures(report));
  }
  PARKD_ASSIGN_OR_RETURN(std::unique_ptr<Backend> candidate, make_candidate(cut.shape));
  PARKD_ASSIGN_OR_RETURN(const std::vector<Answer> answers, ask(cut, std::move(candidate)));
  report.worst = worst_difference(expected, answers);
  if (report.worst <= report.limit) return report;
  return unavailable("self-check against the cpu failed: " + figures(report));
}

}  // namespace parkd
