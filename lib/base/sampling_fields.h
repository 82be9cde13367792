// The table of sampling parameters that are numbers with a fraction: what a body, the config's
// models[].params and jobctl call each, and its range. The body's checks and messages
// (lib/openai/body_reader.cc), the config's keys, checks and printing (lib/config), the model's
// defaults (daemon/models) and jobctl's options all come from here; what each does to the logits
// stands in lib/model/sampler.h. Another one takes its member in SamplingParams, its line here and
// the sampler's work. Constants and pure functions, any thread.
#pragma once

#include <limits>
#include <string_view>

#include "lib/base/sampling.h"

namespace parkd {

struct SamplingField {
  std::string_view name;
  float SamplingParams::*member;
  double min;
  double max;
  bool min_is_out;             // min itself is refused
  bool in_config;              // models[].params may have a default of it
  std::string_view of_jobctl;  // what `jobctl submit --help` says; empty: no option
};

inline constexpr SamplingField kSamplingFields[] = {
    {"temperature", &SamplingParams::temperature, 0, 2, false, true, "0 = greedy, up to 2"},
    {"top_p", &SamplingParams::top_p, 0, 1, true, true, "Nucleus sampling, (0, 1]"},
    {"min_p", &SamplingParams::min_p, 0, 1, false, true, ""},
    {"frequency_penalty", &SamplingParams::frequency_penalty, -2, 2, false, true,
     "Off a token's logit for each time it was generated, -2..2"},
    {"presence_penalty", &SamplingParams::presence_penalty, -2, 2, false, true,
     "Off the logit of what was generated, -2..2"},
    // vLLM and Hugging Face take all above 0; within these no logit can become infinite.
    {"repetition_penalty", &SamplingParams::repetition_penalty, 0.01, 100, false, false,
     "Divides logits of what prompt or answer have, 0.01..100; 1 = off"},
};

// nullptr: there is none of that name.
constexpr const SamplingField* find_sampling_field(std::string_view name) {
  for (const SamplingField& field : kSamplingFields) {
    if (field.name == name) return &field;
  }
  return nullptr;
}

// In this form NaN is outside.
constexpr bool is_within(const SamplingField& field, double value) {
  return value >= field.min && value <= field.max && !(field.min_is_out && value == field.min);
}

// A value within the range as a float within it: 1e-60 is above 0 as a double and 0 as a float.
constexpr float narrowed(const SamplingField& field, double value) {
  const auto narrow = static_cast<float>(value);
  return field.min_is_out && narrow <= static_cast<float>(field.min)
             ? std::numeric_limits<float>::min()
             : narrow;
}

}  // namespace parkd
