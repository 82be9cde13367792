// The tables that parkd_simulate prints: Markdown, for tools/simulate/README.md.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tools/simulate/arrivals.h"
#include "tools/simulate/sheets.h"
#include "tools/simulate/simulation.h"

namespace parkd::simulate {

struct Choice {
  std::vector<DeviceSheet> devices;
  std::vector<ModelSheet> models;
  std::vector<Mix> mixes;
  std::vector<double> loads;  // of what one lane can do with a backlog
  int64_t jobs_per_sequence = 6;
  uint64_t seed = 1;
};
// What the README has; and the least that shows that all of it runs.
Choice whole_choice();
Choice smoke_choice();

// A device's setup much as parkd would make it: KV memory is nine tenths of what is left (parkd
// holds back less of a large device), and max_num_seqs as many sequences as it holds
// (sequences_held).
EngineSetup derived_setup(const ModelSheet& model, const DeviceSheet& device, Lanes lanes,
                          Overlap overlap, int32_t step_tokens);

// Tokens/s while a batch's jobs wait: as it was before (two lanes, 16 sequences, steps of 512), and
// with derived sequences by lanes. "a .. b": by SharedDevice's two bounds.
std::string backlog_table(const Choice& choice);
// One lane by the tokens of a step: a backlog's tokens/s, and times at the highest load.
std::string step_tokens_table(const Choice& choice);
// Times to the first token and between tokens where jobs arrive one by one.
std::string latency_table(const Choice& choice);

}  // namespace parkd::simulate
