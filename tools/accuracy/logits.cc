// parkd_logits MODEL [--dtype f32] [--step N]: reads lines of JSON, {"text": "...", "most":
// TOKENS}, and answers each with a line {"tokens": [...], "vocab": N}, then the logits after each
// of them as N floats of the machine's order. tools/accuracy/accuracy.py asks it; for nothing else.
#include <CLI/CLI.hpp>
#include <boost/json.hpp>
#include <cstdio>
#include <iostream>
#include <string>

#include "lib/backend/cpu/cpu_backend.h"
#include "lib/base/dtype.h"
#include "lib/model/model_card.h"
#include "tests/support/teacher_forcing.h"

namespace {

namespace json = boost::json;
using parkd::TokenId;

// As a completion's prompt: what the text spells is never a special token.
std::vector<TokenId> tokens_of(const json::object& line, const parkd::ModelCard& card) {
  const parkd::PromptSegment segment = {parkd::PromptSegment::Kind::content,
                                        json::value_to<std::string>(line.at("text"))};
  std::vector<TokenId> tokens = card.tokenizer->encode_prompt({&segment, 1}).value();
  const json::value* most = line.if_contains("most");
  if (most != nullptr) tokens.resize(std::min(tokens.size(), most->to_number<size_t>()));
  return tokens;
}

}  // namespace

int main(int argc, char** argv) {
  std::string path;
  std::string dtype = "f32";
  int32_t step = 64;
  CLI::App app("Writes a model's logits along texts.");
  app.add_option("model", path, "a GGUF file or a directory")->required();
  app.add_option("--dtype", dtype, "f32 is the float path")
      ->check(CLI::IsMember({"f32", "bf16", "f16"}));
  app.add_option("--step", step, "tokens a step")->check(CLI::Range(1, 4096));
  CLI11_PARSE(app, argc, argv);

  auto loaded = parkd::load_model_card(path);
  if (!loaded.ok()) {
    std::fprintf(stderr, "%s\n", loaded.status().to_string().c_str());
    return 1;
  }
  const parkd::ModelCard& card = **loaded;
  parkd::CpuBackendOptions options;
  options.shape = card.shape;
  options.dtype = dtype == "f32"   ? parkd::Dtype::f32
                  : dtype == "f16" ? parkd::Dtype::f16
                                   : parkd::Dtype::bf16;
  options.team_size = 2;
  auto backend = parkd::make_cpu_backend(options);
  if (!backend.ok()) {
    std::fprintf(stderr, "%s\n", backend.status().to_string().c_str());
    return 1;
  }
  parkd::testing::TeacherForcing forcing(card, std::move(*backend),
                                         std::min(card.shape.context_tokens, 4096), step);
  std::string line;
  while (std::getline(std::cin, line)) {
    const std::vector<TokenId> tokens = tokens_of(json::parse(line).as_object(), card);
    json::object head;
    head["tokens"] = json::value_from(tokens);
    head["vocab"] = card.shape.vocab;
    std::cout << json::serialize(head) << "\n";
    for (const std::vector<float>& row : forcing.logits(tokens, 0)) {
      std::cout.write(reinterpret_cast<const char*>(row.data()),
                      static_cast<std::streamsize>(row.size() * sizeof(float)));
    }
    std::cout.flush();
  }
  return 0;
}
