// parkd_make_random_model PATH [--like mistral-7b] [--layers N] [--type bf16] [--seed N]: writes a
// model of a real one's shape with random weights (tests/support/random_model.h): for the speed of
// machines to which no real model can be brought.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>
#include <vector>

#include "tests/support/random_model.h"
#include "tests/support/type_words.h"

int main(int argc, char** argv) {
  std::string path;
  std::string like = "mistral-7b";
  std::string type = "bf16";
  std::vector<std::string> names;
  for (const auto& model : parkd::testing::random_models()) names.push_back(model.name);
  const auto types = parkd::testing::types_by_word();
  int layers = 0;
  uint64_t seed = 1;
  bool says_bytes = false;
  CLI::App app("Writes a GGUF model of a real one's shape with random weights.");
  app.add_option("path", path, "The file to write")->required();
  app.add_option("--like", like, "Whose shape (default: mistral-7b)")->check(CLI::IsMember(names));
  app.add_option("--layers", layers, "Fewer or more of them than it has")
      ->check(CLI::Range(1, 1024));
  app.add_option("--type", type, "Of the matrices (default: bf16)")->check(CLI::IsMember(types));
  app.add_option("--seed", seed, "Of the weights (default: 1)");
  app.add_flag("--bytes", says_bytes, "Only say how many bytes it would have");
  CLI11_PARSE(app, argc, argv);

  parkd::testing::RandomModel model = *parkd::testing::find_random_model(like);
  if (layers > 0) model.options.n_layers = layers;
  model.options.type = types.at(type);
  model.options.seed = seed;
  const long long bytes = parkd::testing::random_model_bytes(model);
  if (says_bytes) {
    std::printf("%lld\n", bytes);
    return 0;
  }
  const parkd::Status status = parkd::testing::write_random_model(path, model);
  if (status.ok()) return 0;
  std::fprintf(stderr, "%s\n", status.to_string().c_str());
  return 1;
}
