// parkd_make_tiny_model PATH [--architecture qwen3] [--seed N] [--type q4_1] [--hidden N] ...:
// writes the tests' tiny model (tests/support/tiny_model.h), for end-to-end tests, for the
// references of tools/golden and for trying the daemon without a download.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>

#include "lib/weights/formats.h"
#include "tests/support/tiny_model.h"
#include "tests/support/type_words.h"

int main(int argc, char** argv) {
  parkd::testing::TinyModelOptions options;
  std::string path;
  std::string type = "f32";
  const auto types = parkd::testing::types_by_word();

  CLI::App app("Writes a GGUF model with random weights, for tests.");
  app.add_option("path", path, "the file to write, or the directory")->required();
  app.add_option("--architecture", options.architecture, "its family")
      ->check(CLI::IsMember(parkd::testing::tiny_family_names()));
  app.add_option("--seed", options.seed, "of the weights");
  app.add_option("--type", type, "of the matrices")->check(CLI::IsMember(types));
  app.add_option("--context", options.context_tokens, "tokens")->check(CLI::Range(1, 1 << 24));
  app.add_option("--layers", options.n_layers, "decoder layers")->check(CLI::Range(1, 64));
  app.add_option("--hidden", options.hidden, "a multiple of 32")->check(CLI::Range(32, 4096));
  app.add_option("--ffn", options.ffn, "a multiple of 32")->check(CLI::Range(32, 16384));
  app.add_option("--heads", options.n_heads, "query heads")->check(CLI::Range(1, 64));
  app.add_option("--kv-heads", options.n_kv_heads, "a divisor of --heads")
      ->check(CLI::Range(1, 64));
  app.add_option("--head-dim", options.head_dim, "an even number")->check(CLI::Range(2, 256));
  app.add_option("--rope-scaling", options.rope_scaling, "of the rope")
      ->check(CLI::IsMember({"linear", "llama3", "longrope", "yarn"}));
  app.add_option("--original-context", options.original_context, "tokens, of longrope")
      ->check(CLI::Range(2, 1 << 24));
  app.add_option("--turned", options.n_turned, "numbers of a head, of phi3")
      ->check(CLI::Range(0, 256));
  app.add_option("--window", options.window, "tokens, of a directory")
      ->check(CLI::Range(0, 1 << 24));
  app.add_option("--first-windowed", options.first_windowed, "layer")->check(CLI::Range(0, 64));
  app.add_option("--window-period", options.window_period, "layers, of gemma3_text")
      ->check(CLI::Range(0, 64));
  app.add_option("--query-divisor", options.query_divisor, "of gemma3_text")
      ->check(CLI::Range(0, 4096));
  app.add_option("--shards", options.n_shards, "of a directory")->check(CLI::Range(1, 64));
  bool directory = false;
  app.add_flag("--directory", directory,
               "write config.json and safetensors into the directory PATH, which is there");
  app.add_flag("--tied", options.tied, "the embedding is the head too");
  CLI11_PARSE(app, argc, argv);
  options.type = types.at(type);
  const int64_t block = parkd::format_of(options.type).block_elements;
  for (const int64_t width : {options.hidden, options.ffn, options.n_heads * options.head_dim}) {
    if (width % block == 0) continue;
    std::fprintf(stderr,
                 "--hidden, --ffn and --heads * --head-dim are multiples of %lld for --type %s\n",
                 static_cast<long long>(block), type.c_str());
    return 1;
  }

  const parkd::Status status = directory ? parkd::testing::write_tiny_folder(path, options)
                                         : parkd::testing::write_tiny_model(path, options);
  if (status.ok()) return 0;
  std::fprintf(stderr, "%s\n", status.to_string().c_str());
  return 1;
}
