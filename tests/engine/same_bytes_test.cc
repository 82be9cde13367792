// I7 on the real CPU backend and tiny models: a request's tokens and log-probabilities are the same
// bytes alone, in a batch, with any number of workers and team threads, chunked and whole, with
// what another request has left in the KV cache, and in another process. One instruction set at a
// time: across sets the bytes may differ.
//
// Every family and every type of weights that there is takes part by itself; the table of who runs
// in which way is generated (same_bytes_table.h) and printed.
#include <gtest/gtest.h>

#include <algorithm>
#include <iostream>
#include <iterator>
#include <set>
#include <string>
#include <vector>

#include "lib/backend/cpu/cpu_backend.h"
#include "lib/model/family.h"
#include "lib/model/model_card.h"
#include "lib/weights/formats.h"
#include "tests/engine/same_bytes_table.h"
#include "tests/support/engine_runner.h"
#include "tests/support/tiny_model.h"

namespace parkd {
namespace {

using testing::EngineRunner;
using testing::result_bytes;
using testing::TableRow;

struct Way {
  const char* name;
  int32_t n_workers;
  int32_t team_size;
  int32_t prefill_chunk_tokens;
  int32_t step_tokens;
  int32_t block_size;
  bool share_prefixes = true;
  bool again = false;      // each request for the second time: it finds its prompt's blocks
  size_t n_copies = 1;     // of each request at a time; the second finds no block of the first's
  bool restarted = false;  // another engine of another look at the file ran some of them before
};

// What every other way is compared with: one request at a time, its prompt whole.
constexpr Way kAlone = {"alone", 1, 1, 0, 512, 32, false};
constexpr Way kWays[] = {
    {"batch", 1, 1, 0, 512, 32},
    {"in_32", 1, 1, 0, 512, 32, false, false, 2},
    {"no_prefix_cache", 2, 1, 16, 100, 32, false},
    {"two_workers", 2, 1, 0, 512, 32},
    {"three_workers", 3, 1, 0, 512, 32},
    {"chunks_of_1", 1, 1, 1, 64, 32},
    {"chunks_of_7", 1, 1, 7, 64, 32},
    {"chunks_of_64", 2, 1, 64, 256, 32},
    {"team_of_2", 1, 2, 0, 512, 32},
    {"small_steps", 1, 1, 0, 9, 32},
    {"larger_blocks", 1, 1, 33, 100, 64},
    {"prefix_hits", 1, 1, 0, 512, 32, true, true},
    {"prefix_hits_of_others", 3, 1, 5, 64, 32, true, true},
    {"restarted", 2, 1, 0, 512, 32, true, false, 1, true},
};

constexpr Dtype kDtypes[] = {Dtype::bf16, Dtype::f16, Dtype::f32};
constexpr const char* kDtypeNames[] = {"bf16", "f16", "f32"};

struct Weights {
  TensorType type;
  bool in_directory;

  std::string name() const {
    return std::string(format_of(type).name) + (in_directory ? " directory" : " GGUF");
  }
};

// Every type, in every kind of file that has it.
std::vector<Weights> all_weights() {
  std::vector<Weights> all;
  for (const TensorFormat& format : kTensorFormats) {
    all.push_back({format.type, false});
    if (!format.is_quantised()) all.push_back({format.type, true});
  }
  return all;
}

std::vector<cpu::Isa> isas_here() {
  std::vector<cpu::Isa> isas;
  for (const cpu::Isa isa : {cpu::Isa::scalar, cpu::Isa::avx2, cpu::Isa::avx512}) {
    if (cpu::isa_available(isa)) isas.push_back(isa);
  }
  return isas;
}

std::vector<TableRow> table() {
  return testing::pairwise_table({all_families().size(), all_weights().size(), isas_here().size(),
                                  std::size(kDtypes), std::size(kWays)});
}

// A model, and the instruction set and activations it runs with.
class Model {
 public:
  explicit Model(const TableRow& row)
      : family_(std::string(all_families()[row.family].name)),
        weights_(all_weights()[row.weights]),
        isa_(isas_here()[row.isa]),
        dtype_(kDtypes[row.dtype]),
        name_(family_ + ", " + weights_.name() + ", " + cpu::to_string(isa_) + ", " +
              kDtypeNames[row.dtype]) {}

  const std::string& name() const { return name_; }

  // Made anew, as a daemon that starts reads its files.
  std::shared_ptr<const ModelCard> card() const {
    testing::TinyModelOptions options;
    options.architecture = family_;
    options.type = weights_.type;
    if (format_of(weights_.type).block_elements > 32) {  // rows of whole blocks
      options.hidden = options.ffn = 256;
      options.head_dim = 64;
      options.n_layers = 1;  // wide enough to be slow
    }
    if (family_ == "smollm3") options.n_layers = 4;  // whose last has no rope
    if (family_ == "gemma3_text") {
      options.window = 20;
      options.window_period = 2;  // its second layer sees all
    }
    if (family_ == "phi3") {
      options.window = 20;
      options.n_turned = options.head_dim * 3 / 4;
      options.rope_scaling = "longrope";
    }
    if (!weights_.in_directory) return testing::tiny_model_card(options);
    // A directory is what says a window of these.
    const std::set<std::string> windowed = {"mistral", "ministral3", "qwen2", "qwen3"};
    if (windowed.count(family_) != 0) options.window = 20;
    return testing::tiny_folder_card(options);
  }

  std::unique_ptr<EngineRunner> runner(const Way& way,
                                       const std::shared_ptr<const ModelCard>& card) const {
    CpuBackendOptions backend;
    backend.shape = card->shape;
    backend.isa = isa_;
    backend.dtype = dtype_;
    backend.team_size = way.team_size;
    EngineOptions options;
    options.block_size = way.block_size;
    options.n_workers = way.n_workers;
    options.max_num_seqs = 32;
    options.step_tokens = way.step_tokens;
    options.prefill_chunk_tokens = way.prefill_chunk_tokens;
    options.share_prefixes = way.share_prefixes;
    return std::make_unique<EngineRunner>(card, make_cpu_backend(backend).value(), Blocks{256},
                                          options);
  }

  // Sixteen requests: short and long prompts (over block and chunk borders), greedy and sampled,
  // one with two choices of two prompts each, penalties and biases on some.
  std::vector<GenerationRequest> requests(int32_t vocab) const {
    // The scalar kernels are some twenty times slower: shorter prompts, still over a block's
    // border.
    const int32_t n_prompt_max = isa_ == cpu::Isa::scalar ? 40 : 130;
    std::vector<GenerationRequest> requests;
    for (int32_t i = 0; i < 16; ++i) {
      GenerationRequest request;
      request.id = static_cast<RequestId>(i + 1);
      const int32_t n_prompt = 1 + (i * 37) % n_prompt_max;
      for (int32_t t = 0; t < n_prompt; ++t) {
        request.prompts[0].tokens.push_back((i * 7919 + t * 104729) % vocab);
      }
      request.prompts[0].max_new_tokens = 6 + i % 5;
      request.n_choices = i == 5 ? 2 : 1;
      if (i == 5) request.prompts.push_back({{7, 3, 5}, 5});
      request.sampling.temperature = i % 2 == 0 ? 0.0F : 0.8F;
      request.sampling.top_p = i % 4 == 1 ? 0.9F : 1.0F;
      request.sampling.top_k = i % 4 == 3 ? 20 : 0;
      if (i % 3 == 1) request.sampling.frequency_penalty = 1.0F;
      if (i % 3 == 2) request.sampling.repetition_penalty = 1.3F;
      if (i % 5 == 1) request.sampling.presence_penalty = -0.5F;
      if (i % 7 == 2) request.sampling.logit_bias = {{5, 3.0F}, {i, -100.0F}};
      request.sampling.seed = static_cast<uint64_t>(1000 + i);
      request.sampling.logprobs = true;
      request.sampling.top_logprobs = 5;
      requests.push_back(std::move(request));
    }
    return requests;
  }

 private:
  const std::string family_;
  const Weights weights_;
  const cpu::Isa isa_;
  const Dtype dtype_;
  const std::string name_;
};

std::vector<std::string> bytes_of(const std::vector<GenerationResult>& results) {
  std::vector<std::string> bytes;
  for (const GenerationResult& result : results) {
    EXPECT_TRUE(result.status.ok()) << result.status.to_string();
    bytes.push_back(result_bytes(result));
  }
  return bytes;
}

// Each `n` times, with ids of their own.
std::vector<GenerationRequest> copies_of(const std::vector<GenerationRequest>& requests, size_t n) {
  std::vector<GenerationRequest> all;
  for (size_t copy = 0; copy < n; ++copy) {
    for (GenerationRequest request : requests) {
      request.id = static_cast<RequestId>(all.size() + 1);
      all.push_back(std::move(request));
    }
  }
  return all;
}

void expect_same_bytes(const Model& model, const Way& way,
                       const std::shared_ptr<const ModelCard>& card,
                       const std::vector<std::string>& alone) {
  const std::vector<GenerationRequest> requests =
      copies_of(model.requests(card->shape.vocab), way.n_copies);
  if (way.restarted) {
    (void)model.runner(way, model.card())->run({requests.begin() + 3, requests.begin() + 9});
  }
  const auto runner = model.runner(way, way.restarted ? model.card() : card);
  if (way.again) (void)runner->run(requests);
  const std::vector<std::string> bytes = bytes_of(runner->run(requests));
  if (way.again) {
    EXPECT_GT(runner->engine().stats().shared_tokens, 0) << way.name << ": nothing was shared";
  }
  for (size_t i = 0; i < bytes.size(); ++i) {
    EXPECT_TRUE(bytes[i] == alone[i % alone.size()])
        << way.name << ": request " << requests[i].id << " differs from the one run alone";
  }
}

class SameBytes : public ::testing::TestWithParam<size_t> {};  // a family

TEST_P(SameBytes, alone_batched_chunked_and_with_more_workers) {
  for (const TableRow& row : table()) {
    if (row.family != GetParam()) continue;
    const Model model(row);
    SCOPED_TRACE(model.name());
    const auto card = model.card();
    const std::vector<std::string> alone =
        bytes_of(model.runner(kAlone, card)->run_alone(model.requests(card->shape.vocab)));
    ASSERT_EQ(std::set<std::string>(alone.begin(), alone.end()).size(), alone.size())
        << "the requests do not tell the ways apart";
    for (const size_t way : row.ways) expect_same_bytes(model, kWays[way], card, alone);
  }
}

std::string name_of(const ::testing::TestParamInfo<size_t>& family) {
  return std::string(all_families()[family.param].name);
}

INSTANTIATE_TEST_SUITE_P(Of, SameBytes, ::testing::Range(size_t{0}, all_families().size()),
                         name_of);

TEST(SameBytesTable, every_family_and_type_meets_every_way) {
  const std::vector<std::string> made = testing::tiny_family_names();
  for (const Family& family : all_families()) {
    EXPECT_NE(std::find(made.begin(), made.end(), family.name), made.end())
        << family.name << " has no row in tests/support/tiny_family.cc";
  }
  std::set<std::pair<size_t, size_t>> families_weights;
  std::set<std::pair<size_t, size_t>> families_ways;
  std::set<std::pair<size_t, size_t>> weights_ways;
  std::set<std::pair<size_t, size_t>> isas_ways;
  std::set<std::pair<size_t, size_t>> isas_weights;
  size_t n_runs = 0;
  std::cout << "I7: each is compared with the same run alone" << std::endl;
  for (const TableRow& row : table()) {
    families_weights.insert({row.family, row.weights});
    isas_weights.insert({row.isa, row.weights});
    std::string ways;
    for (const size_t way : row.ways) {
      families_ways.insert({row.family, way});
      weights_ways.insert({row.weights, way});
      isas_ways.insert({row.isa, way});
      ways += std::string(" ") + kWays[way].name;
      ++n_runs;
    }
    std::cout << Model(row).name() << ":" << ways << std::endl;
  }
  const size_t n_weights = all_weights().size();
  EXPECT_EQ(families_weights.size(), all_families().size() * n_weights);
  EXPECT_EQ(families_ways.size(), all_families().size() * std::size(kWays));
  EXPECT_EQ(weights_ways.size(), n_weights * std::size(kWays));
  EXPECT_EQ(isas_ways.size(), isas_here().size() * std::size(kWays));
  EXPECT_EQ(isas_weights.size(), isas_here().size() * n_weights);
  std::cout << n_runs << " runs beside " << families_weights.size() << " alone; "
            << isas_here().size() << " of 3 instruction sets"
            << (isas_here().size() < 3 ? ", SKIPPED LOUDLY: the others" : "") << std::endl;
}

}  // namespace
}  // namespace parkd
