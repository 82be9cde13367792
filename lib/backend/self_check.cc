#include "lib/backend/self_check.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "lib/backend/cpu/cpu_backend.h"
#include "lib/backend/self_check_probe.h"
#include "lib/base/thread.h"

namespace parkd {
namespace {

using self_check::Chosen;
using self_check::ProbeAnswers;

constexpr int64_t kSmallParameters = 500'000'000;
constexpr int32_t kLayersOfLarge = 2;
constexpr double kContrastMin = 0.01;  // nat; below, texts cannot be told apart
// What a right device may differ by, as a multiple of what the CPU's path of the same type differs
// by from its float path. That path itself is 1 by definition; emulated devices measured 0.2
// (SmolLM2 in Q4_1, whose activations the CPU rounds to 8 bits) to 0.5. The smallest mistakes in
// tests/backend (a tenth more attention scale) measured 5 with two layers and 1.9 with SmolLM2.
constexpr double kRoundingFactor = 2;
// And as a part of the contrast: at least what the order of float sums may do (measured: 5e-6), and
// at most what still tells mistakes from rounding where a deep model rounds much: 0.2 lets SmolLM2
// pass with 0.03 (emulated) or 0.13 (the CPU's path) and refuses a tenth more scale with 0.25.
constexpr double kContrastPartMin = 0.01;
constexpr double kContrastPartMax = 0.2;

// The best tokens of a row, best first.
using Answer = std::vector<TokenLogprob>;

ModelCard first_layers(const ModelCard& card, int32_t n_layers) {
  ModelCard cut = card;
  cut.shape.n_layers = n_layers;
  cut.shape.layers.resize(static_cast<size_t>(n_layers));
  cut.tensors.layers.resize(static_cast<size_t>(n_layers));
  return cut;
}

// Adds the squares of what `a` differs by from `b`: of a token that is not in `b`, what it is above
// b's last, at least.
void add_squares(const Answer& a, const Answer& b, bool both, double& sum, int64_t& n) {
  for (const TokenLogprob& mine : a) {
    const auto same = std::find_if(b.begin(), b.end(), [&mine](const TokenLogprob& other) {
      return other.token == mine.token;
    });
    if (same != b.end() && !both) continue;
    const double gap = same != b.end() ? mine.logprob - same->logprob
                                       : std::max(mine.logprob - b.back().logprob, 0.0F);
    sum += gap * gap;
    ++n;
  }
}

// Root mean square over the tokens that are among the best of either.
double difference(const Answer& a, const Answer& b) {
  if (a.empty() || a.size() != b.size()) return HUGE_VAL;
  double sum = 0;
  int64_t n = 0;
  add_squares(a, b, true, sum, n);
  add_squares(b, a, false, sum, n);
  const double root = std::sqrt(sum / static_cast<double>(n));
  return std::isnan(root) ? HUGE_VAL : root;  // no agreement
}

double worst_difference(const ProbeAnswers& a, const ProbeAnswers& b) {
  double worst = a.rows.size() == b.rows.size() ? 0 : HUGE_VAL;
  for (size_t i = 0; i < a.rows.size() && i < b.rows.size(); ++i) {
    worst = std::max(worst, difference(a.rows[i], b.rows[i]));
  }
  return worst;
}

// How far answers to different texts lie apart, on average.
double contrast_of(const ProbeAnswers& answers) {
  double sum = 0;
  for (size_t i = 0; i + 1 < answers.rows.size(); ++i) {
    sum += difference(answers.rows[i], answers.rows[i + 1]);
  }
  return sum / static_cast<double>(answers.rows.size() - 1);
}

Result<ProbeAnswers> ask_cpu(const ModelCard& card, Dtype dtype, int32_t block_size,
                             const Chosen& known) {
  CpuBackendOptions options;
  options.shape = card.shape;
  options.dtype = dtype;
  options.team_size = usable_cores();
  PARKD_ASSIGN_OR_RETURN(std::unique_ptr<Backend> backend, make_cpu_backend(options));
  PARKD_ASSIGN_OR_RETURN(ProbeAnswers answers,
                         self_check::probe(card, std::move(backend), block_size, &known));
  if (answers.wrong_choice.empty()) return answers;
  return unavailable("the self-check failed on the cpu: " + answers.wrong_choice);
}

std::string figures(const SelfCheckReport& report) {
  return "log-probabilities differ by up to " + std::to_string(report.worst) +
         " nat, the limit is " + std::to_string(report.limit) + " (" +
         std::to_string(report.n_layers) + " layers, rounding on the cpu gives " +
         std::to_string(report.rounding) + ", different texts differ by " +
         std::to_string(report.contrast) + ")";
}

}  // namespace

Result<SelfCheckReport> check_against_cpu(const ModelCard& card, const SelfCheckOptions& options,
                                          const MakeBackend& make_candidate) {
  SelfCheckReport report;
  report.n_layers = card.n_parameters <= kSmallParameters
                        ? card.shape.n_layers
                        : std::min(card.shape.n_layers, kLayersOfLarge);
  const ModelCard cut = first_layers(card, report.n_layers);
  PARKD_ASSIGN_OR_RETURN(std::unique_ptr<Backend> candidate, make_candidate(cut.shape));
  PARKD_ASSIGN_OR_RETURN(const ProbeAnswers answers,
                         self_check::probe(cut, std::move(candidate), options.block_size, nullptr));
  if (!answers.wrong_choice.empty()) {
    report.refusal = "its choices are not those of its logits: " + answers.wrong_choice;
    return report;
  }
  const Chosen& known = answers.chosen;
  PARKD_ASSIGN_OR_RETURN(const ProbeAnswers exact,
                         ask_cpu(cut, Dtype::f32, options.block_size, known));
  report.contrast = contrast_of(exact);
  if (options.dtype != Dtype::f32) {
    PARKD_ASSIGN_OR_RETURN(const ProbeAnswers rounded,
                           ask_cpu(cut, options.dtype, options.block_size, known));
    report.rounding = worst_difference(exact, rounded);
  }
  report.limit = std::clamp(kRoundingFactor * report.rounding, kContrastPartMin * report.contrast,
                            kContrastPartMax * report.contrast);
  report.worst = worst_difference(exact, answers);
  if (!(report.contrast >= kContrastMin)) {
    return unavailable("the self-check against the cpu says nothing: " + figures(report));
  }
  if (report.worst > report.limit) report.refusal = figures(report);
  return report;
}

}  // namespace parkd
