#include "tools/simulate/tables.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>

#include "lib/base/check.h"
#include "lib/config/kv_capacity.h"

namespace parkd::simulate {
namespace {

constexpr double kContextBytes = 0.6e9;  // assumed: what a process's context takes of a device
constexpr int32_t kStepTokens = 2048;
constexpr int32_t kStepTokensBefore = 512;
constexpr int32_t kSequencesBefore = 16;
constexpr int32_t kContextTokens = 32768;  // of the models
constexpr Overlap kBounds[] = {Overlap::in_turn, Overlap::perfect};

std::string rounded(double value, int digits) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

// Three figures say what a model of this kind is worth: 12,300, 123, 12.3, 1.23.
std::string three_figures(double value) {
  const double size = value > 0 ? std::floor(std::log10(value)) : 0;
  const double unit = std::pow(10, size - 2);
  std::string text = rounded(std::round(value / unit) * unit, int(std::clamp(2 - size, 0.0, 2.0)));
  if (text.find('.') != std::string::npos) return text;
  for (auto at = static_cast<int>(text.size()) - 3; at > 0; at -= 3) {
    text.insert(static_cast<size_t>(at), ",");
  }
  return text;
}

std::string range(double low, double high) {
  const std::string from = three_figures(std::min(low, high));
  const std::string to = three_figures(std::max(low, high));
  return from == to ? from : from + " .. " + to;
}

std::string gain(double from, double to) {
  const double percent = std::round(100 * (to / from - 1));
  return (percent > 0 ? "+" : "") + rounded(percent == 0 ? 0 : percent, 0);
}

double backlog_tokens_per_s(const EngineSetup& setup, const Mix& mix, const Choice& choice) {
  const int64_t n_jobs = std::max<int64_t>(choice.jobs_per_sequence * setup.max_num_seqs, 32);
  return simulate(setup, make_jobs(mix, n_jobs, {}, choice.seed)).tokens_per_s();
}

// What one lane can do: the measure of loads.
double jobs_per_s_at_most(const ModelSheet& model, const DeviceSheet& device, const Mix& mix,
                          const Choice& choice) {
  const EngineSetup one = derived_setup(model, device, Lanes::one, Overlap::in_turn, kStepTokens);
  return backlog_tokens_per_s(one, mix, choice) / mix.new_tokens_mean;
}

EngineSetup setup_before(const ModelSheet& model, const DeviceSheet& device, Overlap overlap) {
  EngineSetup setup = derived_setup(model, device, Lanes::two_equal, overlap, kStepTokensBefore);
  setup.max_num_seqs = kSequencesBefore;
  return setup;
}

constexpr Lanes kAllLanes[] = {Lanes::one, Lanes::two_equal, Lanes::decodes_first,
                               Lanes::roles_equal};

const char* name_of(Lanes lanes) {
  switch (lanes) {
    case Lanes::one:
      return "1";
    case Lanes::two_equal:
      return "2 equal";
    case Lanes::decodes_first:
      return "roles, decodes first";
    case Lanes::roles_equal:
      return "roles, none first";
  }
  return "";
}

// "| Mistral-7B | H100 | chat |"
std::string row_head(const ModelSheet& model, const DeviceSheet& device, const Mix& mix) {
  return "| " + model.name + " | " + device.name + " | " + mix.name + " |";
}

template <class F>
void for_each_pair(const Choice& choice, F f) {
  for (const ModelSheet& model : choice.models) {
    for (const DeviceSheet& device : choice.devices) f(model, device);
  }
}

// Times by both bounds, of which the better one has the lower.
std::string times(std::vector<Outcome>& outcomes, std::vector<double> Outcome::*which) {
  std::string text;
  for (const double share : {0.5, 0.99}) {
    const double a = 1000 * percentile(outcomes.front().*which, share);
    const double b = 1000 * percentile(outcomes.back().*which, share);
    text += " " + range(a, b) + " |";
  }
  return text;
}

}  // namespace

Choice whole_choice() {
  Choice choice;
  choice.devices = device_sheets();
  choice.models = {*find_model("Mistral-7B"), *find_model("Qwen3-0.6B")};
  choice.mixes = mixes();
  choice.loads = {0.5, 0.9};
  return choice;
}

Choice smoke_choice() {
  Choice choice;
  choice.devices = {*find_device("RTX 4090")};
  choice.models = {*find_model("Mistral-7B")};
  choice.mixes = {{"chat", 64, 16}};
  choice.loads = {0.5};
  choice.jobs_per_sequence = 2;
  return choice;
}

EngineSetup derived_setup(const ModelSheet& model, const DeviceSheet& device, Lanes lanes,
                          Overlap overlap, int32_t step_tokens) {
  EngineSetup setup;
  setup.model = model;
  setup.device = device;
  setup.lanes = lanes;
  setup.overlap = overlap;
  setup.step_tokens = step_tokens;
  const int32_t n_lanes = lanes == Lanes::one ? 1 : 2;
  const double left = device.memory_bytes - kContextBytes - weight_bytes(model) -
                      n_lanes * lane_bytes(model, step_tokens, kSequencesOfDeviceMax);
  const double block = kv_token_bytes(model) * setup.block_size;
  setup.kv_blocks = Blocks{static_cast<int64_t>(0.9 * left / block)};
  PARKD_CHECK(setup.kv_blocks.count > 0, "the model fits into the device");
  setup.max_num_seqs = sequences_held(setup.kv_blocks, setup.block_size, kContextTokens);
  return setup;
}

std::string backlog_table(const Choice& choice) {
  std::string text =
      "| model | device | jobs | before: 2 lanes, 16 sequences, steps of 512 | sequences derived "
      "| 1 lane | 2 equal lanes | roles, decodes first | roles, none first | best of 2 lanes over "
      "1, % "
      "|\n| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n";
  for_each_pair(choice, [&](const ModelSheet& model, const DeviceSheet& device) {
    for (const Mix& mix : choice.mixes) {
      const auto by_bounds = [&](const auto& setup) {
        return std::pair(backlog_tokens_per_s(setup(Overlap::in_turn), mix, choice),
                         backlog_tokens_per_s(setup(Overlap::perfect), mix, choice));
      };
      const auto before =
          by_bounds([&](Overlap overlap) { return setup_before(model, device, overlap); });
      const EngineSetup of_one =
          derived_setup(model, device, Lanes::one, Overlap::in_turn, kStepTokens);
      const double one = backlog_tokens_per_s(of_one, mix, choice);
      text += row_head(model, device, mix) + " " + range(before.first, before.second) + " | " +
              std::to_string(of_one.max_num_seqs) + " | " + three_figures(one) + " |";
      std::pair<double, double> best = {0, 0};
      for (const Lanes lanes : {Lanes::two_equal, Lanes::decodes_first, Lanes::roles_equal}) {
        const auto two = by_bounds([&](Overlap overlap) {
          return derived_setup(model, device, lanes, overlap, kStepTokens);
        });
        text += " " + range(two.first, two.second) + " |";
        best = {std::max(best.first, two.first), std::max(best.second, two.second)};
      }
      text += " " + gain(one, best.first) + " .. " + gain(one, best.second) + " |\n";
    }
  });
  return text;
}

std::string step_tokens_table(const Choice& choice) {
  const double load = choice.loads.back();
  std::string text =
      "| model | device | jobs | step tokens | tokens/s, backlog | load, % | first token p50, ms "
      "| p99, ms | between tokens p50, ms | p99, ms |\n"
      "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n";
  for_each_pair(choice, [&](const ModelSheet& model, const DeviceSheet& device) {
    const Mix& mix = choice.mixes.front();
    const double most = jobs_per_s_at_most(model, device, mix, choice);
    for (const int32_t step_tokens : {512, 1024, 2048, 4096}) {
      EngineSetup setup = derived_setup(model, device, Lanes::one, Overlap::in_turn, step_tokens);
      const double tokens_per_s = backlog_tokens_per_s(setup, mix, choice);
      setup.callers_wait = true;
      const int64_t n_jobs = choice.jobs_per_sequence * setup.max_num_seqs;
      std::vector<Outcome> outcomes;
      outcomes.push_back(simulate(setup, make_jobs(mix, n_jobs, load * most, choice.seed)));
      text += row_head(model, device, mix) + " " + std::to_string(step_tokens) + " | " +
              three_figures(tokens_per_s) + " | " + rounded(100 * load, 0) + " |" +
              times(outcomes, &Outcome::first_token_s) +
              times(outcomes, &Outcome::between_tokens_s) + "\n";
    }
  });
  return text;
}

std::string latency_table(const Choice& choice) {
  std::string text =
      "| model | device | jobs | load, % | lanes | first token p50, ms | p99, ms | between tokens "
      "p50, "
      "ms | p99, ms |\n| --- | --- | --- | ---: | --- | ---: | ---: | ---: | ---: |\n";
  for_each_pair(choice, [&](const ModelSheet& model, const DeviceSheet& device) {
    const Mix& mix = choice.mixes.front();
    const double most = jobs_per_s_at_most(model, device, mix, choice);
    for (const double load : choice.loads) {
      for (const Lanes lanes : kAllLanes) {
        std::vector<Outcome> outcomes;
        for (const Overlap overlap : kBounds) {
          EngineSetup setup = derived_setup(model, device, lanes, overlap, kStepTokens);
          setup.callers_wait = true;
          const int64_t n_jobs = choice.jobs_per_sequence * setup.max_num_seqs;
          outcomes.push_back(simulate(setup, make_jobs(mix, n_jobs, load * most, choice.seed)));
        }
        text += row_head(model, device, mix) + " " + rounded(100 * load, 0) + " | " +
                name_of(lanes) + " |" + times(outcomes, &Outcome::first_token_s) +
                times(outcomes, &Outcome::between_tokens_s) + "\n";
      }
    }
  });
  return text;
}

}  // namespace parkd::simulate
