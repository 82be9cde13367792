#include "lib/backend/self_check_probe.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <deque>
#include <span>
#include <string_view>
#include <utility>

#include "lib/base/units.h"
#include "lib/model/model.h"
#include "lib/model/sampler.h"

namespace parkd::self_check {
namespace {

constexpr int32_t kTop = 20;          // the most that a lane reports
constexpr int32_t kLongTokens = 300;  // three splits of attention_decode.cu, none of them whole
constexpr int32_t kShortTokens = 5;
constexpr int32_t kDecodeSteps = 3;   // eager, captured, replayed
constexpr int32_t kFedBackSteps = 3;  // of both orders of rows
constexpr int32_t kSteps = 2 + kDecodeSteps + kFedBackSteps;
// The greatest difference of a log-probability from Sampler's on the same logits: a float's
// rounding and logprobs.cu's 2e-6 are below 1e-5.
constexpr float kReportTolerance = 1e-4F;
constexpr uint64_t kSeedsMax = 64;  // tried for one that shows the parameter

// Plain prose that does not repeat itself: models are sure of it, so rounding shows little and
// mistakes show much, and no part of it stands in for another.
constexpr std::string_view kText[kSequences] = {
    "The river Thames rises in the hills of Gloucestershire and flows east through Oxford, Reading "
    "and London to the North Sea. It is the longest river in England and the second longest in "
    "the United Kingdom. People have lived on its banks since the Stone Age. The Romans built a "
    "bridge across it and a town beside the bridge, which they called Londinium. In the Middle "
    "Ages the king gave the city the right to fish there, and mills, ferries and markets grew up "
    "along the water. Ships from Venice, Hamburg and Lisbon brought wine, salt, spices and silk. "
    "During hard winters the river froze, and the people held fairs on the ice, with roasted "
    "oxen, printing presses and dancing bears. The last of these fairs was in February 1814; then "
    "the old bridge was pulled down, the stream ran faster, and it never froze again. In the "
    "summer of 1858 the smell of the sewage was so bad that Parliament hung curtains soaked in "
    "lime before its windows. An engineer, Joseph Bazalgette, built eighty miles of brick tunnels "
    "that carried the waste away to the sea, and cholera left the town. A century later biologists "
    "found that nothing lived in the lower river at all. Factories were closed, treatment works "
    "were built, and slowly the fish came back: first eels and smelt, then bass, flounder and "
    "salmon. Today seals rest on the mud near Canary Wharf, herons stand at every weir, and a "
    "great steel barrier at Woolwich guards the city against the tide. Each year thousands of "
    "rowers, sailors and walkers follow its course from the source to the mouth.",
    "One, two, three, four, five, six, seven, eight, nine, ten."};

struct StepPlan {
  std::array<int32_t, kSequences> n_tokens;
  bool prefills = false;
  bool fed_back = false;
  bool reversed = false;  // the order of the rows
};

// Contexts shorter than the long sequence cut it.
std::array<StepPlan, kSteps> plan_steps(int32_t context_tokens, int32_t block_size) {
  const int32_t most = context_tokens - 1 - kDecodeSteps - kFedBackSteps;
  const int32_t n_long = std::clamp(most, 2, kLongTokens);
  const int32_t first_chunk = std::min(block_size + 1, n_long - 1);
  std::array<StepPlan, kSteps> steps = {};
  steps[0] = {{first_chunk, kShortTokens}, true, false, false};
  steps[1] = {{n_long - first_chunk, 1}, true, false, false};
  for (int32_t i = 2; i < kSteps; ++i) {
    const bool fed_back = i >= 2 + kDecodeSteps;
    steps[static_cast<size_t>(i)] = {{1, 1}, false, fed_back, fed_back && i % 2 == 1};
  }
  return steps;
}

// The first `n` tokens of a text, from its start again where it is too short.
std::vector<TokenId> tokens_of(const ModelCard& card, std::string_view text, int32_t n) {
  const std::vector<TokenId> all = card.tokenizer->encode(text, SpecialTokens::as_text).value();
  std::vector<TokenId> tokens;
  for (int32_t i = 0; i < n; ++i) tokens.push_back(all[static_cast<size_t>(i) % all.size()]);
  return tokens;
}

SamplingParams params_of(float temperature, float top_p, int32_t top_k, float min_p) {
  SamplingParams params;
  params.temperature = temperature;
  params.top_p = top_p;
  params.top_k = top_k;
  params.min_p = min_p;
  params.logprobs = true;
  params.top_logprobs = kTop;
  return params;
}

// A way to choose, and what a sampler that ignores one part of it would do.
struct Choice {
  const char* name;
  SamplingParams params;
  SamplingParams ignored;
  int32_t choice_index = 0;
  bool ignores_position = false;
};

// Flat enough for another token to be likely, whatever the model.
const Choice kChoices[] = {
    {"temperature 0", params_of(0, 1, 0, 0), params_of(1.5F, 1, 0, 0)},
    {"temperature 0.7", params_of(0.7F, 1, 0, 0), params_of(1, 1, 0, 0)},
    {"top_k 3", params_of(2, 1, 3, 0), params_of(2, 1, 0, 0)},
    {"top_p 0.5", params_of(2, 0.5F, 0, 0), params_of(2, 1, 0, 0)},
    {"min_p 0.3", params_of(2, 1, 0, 0.3F), params_of(2, 1, 0, 0)},
    {"top_k 10, top_p 0.6 and min_p 0.1", params_of(2, 0.6F, 10, 0.1F), params_of(2, 1, 10, 0)},
    {"choice 3", params_of(2, 1, 0, 0), params_of(2, 1, 0, 0), 3},
    {"the position's noise", params_of(2, 1, 0, 0), params_of(2, 1, 0, 0), 0, true},
};
constexpr int32_t kChoicesMax = std::size(kChoices);

// Of steps whose logits cannot be read back: the token must be among the best so many.
const SamplingParams kDecodeParams[kSequences] = {params_of(0, 1, 0, 0), params_of(2, 1, 4, 0)};
constexpr int32_t kDecodeBest[kSequences] = {1, 4};

// A step under way.
struct Step {
  struct Row {
    int32_t sequence = 0;
    int32_t choice = -1;  // in kChoices; -1: kDecodeParams
    SamplingParams params;
    SampledToken expected;  // of a choice
  };
  StepPlan plan;
  std::vector<Row> rows;
};

// What is wrong with a token of a row whose logits are known.
std::string compare(const SampledToken& got, const SampledToken& expected) {
  if (got.token != expected.token) {
    return "token " + std::to_string(got.token) + " was chosen, its logits give " +
           std::to_string(expected.token);
  }
  bool same = got.top.size() == expected.top.size() &&
              std::abs(got.logprob - expected.logprob) <= kReportTolerance;
  for (size_t i = 0; same && i < got.top.size(); ++i) {
    same = got.top[i].token == expected.top[i].token &&
           std::abs(got.top[i].logprob - expected.top[i].logprob) <= kReportTolerance;
  }
  return same ? "" : "the log-probabilities are not those of its logits";
}

class Probe {
 public:
  Probe(const ModelCard& card, std::unique_ptr<Backend> backend, int32_t block_size,
        const Chosen* known)
      : card_(card),
        block_size_(block_size),
        known_(known),
        plan_(plan_steps(card.shape.context_tokens, block_size)),
        sampler_(card.shape.vocab),
        backend_(std::move(backend)) {}

  Status load() {
    PARKD_ASSIGN_OR_RETURN(ModelWeights weights, load_weights(card_, *backend_, nullptr));
    model_ = std::make_unique<Model>(card_.shape, std::move(weights));
    int32_t next_block = 0;
    for (int32_t s = 0; s < kSequences; ++s) {
      int32_t n_tokens = 0;
      for (const StepPlan& step : plan_) n_tokens += step.n_tokens[static_cast<size_t>(s)];
      text_[s] = tokens_of(card_, kText[s], n_tokens);
      for (int64_t b = 0; b < ceil_div(n_tokens, block_size_); ++b) {
        tables_[s].push_back(next_block++);
      }
      std::reverse(tables_[s].begin(), tables_[s].end());  // not in order of memory
    }
    PARKD_RETURN_IF_ERROR(backend_->allocate_kv(next_block, block_size_));
    PARKD_ASSIGN_OR_RETURN(lane_, backend_->make_lane());
    int32_t rows_max = 0;
    for (const StepPlan& step : plan_) {
      rows_max = std::max(rows_max, step.n_tokens[0] + step.n_tokens[1]);
    }
    buffers_ = model_->make_buffers(*lane_, rows_max, std::min(rows_max, kChoicesMax + 1));
    return {};
  }

  Result<ProbeAnswers> run() {
    for (size_t i = 0; i < plan_.size(); ++i) {
      begin(plan_[i]);
      // A step ahead where its tokens are fed back, and where the next one's will be.
      const bool ahead = i + 1 < plan_.size() && plan_[i + 1].fed_back;
      const auto under_way_max = static_cast<size_t>(ahead ? lane_->steps_ahead() : 0);
      while (under_way_.size() > under_way_max) PARKD_RETURN_IF_ERROR(collect());
      if (!answers_.wrong_choice.empty()) {
        while (!under_way_.empty()) PARKD_RETURN_IF_ERROR(collect());
        break;
      }
    }
    return std::move(answers_);
  }

 private:
  void begin(const StepPlan& plan) {
    Step& step = under_way_.emplace_back();
    step.plan = plan;
    std::vector<TokenId> tokens;
    std::vector<StepSequence> sequences;
    std::vector<int32_t> logit_rows;
    for (int32_t i = 0; i < kSequences; ++i) {
      const int32_t s = plan.reversed ? kSequences - 1 - i : i;
      const int32_t n = plan.n_tokens[static_cast<size_t>(s)];
      const auto first_row = static_cast<int32_t>(tokens.size());
      sequences.push_back({first_row, n, done_[s], tables_[s]});
      for (int32_t t = 0; t < n; ++t) tokens.push_back(next_token(s, plan));
      // The last rows of a chunk are chosen from in all ways.
      const int32_t n_logits = plan.prefills && s == 0 ? std::min(n, kChoicesMax) : 1;
      for (int32_t r = n - n_logits; r < n; ++r) {
        logit_rows.push_back(first_row + r);
        Step::Row& row = step.rows.emplace_back();
        row.sequence = s;
        row.choice = plan.prefills ? (r - n + n_logits) % kChoicesMax : -1;
      }
    }
    model_->forward(*lane_, buffers_, {tokens, sequences, logit_rows});
    sample(step);
    ++n_begun_;
  }

  // The text's, what the step before chose, or its row where that is not known yet.
  TokenId next_token(int32_t s, const StepPlan& plan) {
    const auto at = static_cast<size_t>(done_[s]++);
    if (!plan.fed_back) return text_[s][at];
    const Chosen& known = known_ != nullptr ? *known_ : answers_.chosen;
    if (n_begun_ <= known.size()) return known[n_begun_ - 1][static_cast<size_t>(s)];
    const std::vector<Step::Row>& before = under_way_[under_way_.size() - 2].rows;
    const auto row = std::find_if(before.begin(), before.end(),
                                  [s](const Step::Row& each) { return each.sequence == s; });
    return -1 - static_cast<TokenId>(row - before.begin());
  }

  void sample(Step& step) {
    std::vector<SampleRow> rows;
    std::vector<float> logits(static_cast<size_t>(card_.shape.vocab));
    for (size_t i = 0; i < step.rows.size(); ++i) {
      Step::Row& row = step.rows[i];
      SampleRow& to = rows.emplace_back();
      to.position = done_[row.sequence];
      if (row.choice < 0) {
        row.params = kDecodeParams[row.sequence];
        row.params.seed = static_cast<uint64_t>(to.position);
      } else {
        lane_->read_row(buffers_.logits, static_cast<int64_t>(i), logits);
        to.choice_index = kChoices[row.choice].choice_index;
        choose(logits, to, row);
      }
      to.params = &row.params;
    }
    lane_->sample(buffers_.logits, rows);
  }

  // Sets the row's params to its choice's, with a seed under which it matters, and what they give.
  void choose(std::span<const float> logits, SampleRow to, Step::Row& row) {
    const Choice& choice = kChoices[row.choice];
    SampleRow ignoring = to;
    ignoring.choice_index = 0;
    if (choice.ignores_position) ignoring.position = 0;
    SamplingParams ignored = choice.ignored;
    row.params = choice.params;
    to.params = &row.params;
    ignoring.params = &ignored;
    SampledToken other;
    for (uint64_t seed = 1; seed <= kSeedsMax; ++seed) {
      row.params.seed = ignored.seed = seed << 32 | seed;
      sampler_.sample_row(logits, to, row.expected);
      sampler_.sample_row(logits, ignoring, other);
      if (row.expected.token != other.token) return;
    }
  }

  Status collect() {
    Step& step = under_way_.front();
    std::vector<SampledToken> sampled(step.rows.size());
    PARKD_RETURN_IF_ERROR(lane_->collect(sampled));
    std::array<TokenId, kSequences> chosen = {};
    for (size_t i = 0; i < sampled.size(); ++i) {
      const Step::Row& row = step.rows[i];
      if (answers_.wrong_choice.empty()) answers_.wrong_choice = wrong_choice(sampled[i], row);
      chosen[static_cast<size_t>(row.sequence)] = sampled[i].token;
      answers_.rows.push_back(std::move(sampled[i].top));
    }
    answers_.chosen.push_back(chosen);
    under_way_.pop_front();
    return {};
  }

  std::string wrong_choice(const SampledToken& got, const Step::Row& row) const {
    if (got.token < 0 || got.token >= card_.shape.vocab) return "a row got no token";
    if (row.choice >= 0) {
      const std::string wrong = compare(got, row.expected);
      return wrong.empty() ? "" : std::string(kChoices[row.choice].name) + ": " + wrong;
    }
    const auto last =
        got.top.begin() + std::min<std::ptrdiff_t>(kDecodeBest[row.sequence], std::ssize(got.top));
    const bool among = std::any_of(got.top.begin(), last, [&got](const TokenLogprob& best) {
      return best.token == got.token;
    });
    if (among) return "";
    return "a decoded token is not among the best " + std::to_string(kDecodeBest[row.sequence]);
  }

  const ModelCard& card_;
  const int32_t block_size_;
  const Chosen* const known_;
  const std::array<StepPlan, kSteps> plan_;
  Sampler sampler_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Model> model_;
  std::unique_ptr<Lane> lane_;  // goes before its backend
  ModelBuffers buffers_;
  std::vector<TokenId> text_[kSequences];
  std::vector<int32_t> tables_[kSequences];
  int32_t done_[kSequences] = {};
  size_t n_begun_ = 0;
  std::deque<Step> under_way_;
  ProbeAnswers answers_;
};

}  // namespace

Result<ProbeAnswers> probe(const ModelCard& card, std::unique_ptr<Backend> backend,
                           int32_t block_size, const Chosen* known) {
  Probe run(card, std::move(backend), block_size, known);
  PARKD_RETURN_IF_ERROR(run.load());
  return run.run();
}

}  // namespace parkd::self_check
