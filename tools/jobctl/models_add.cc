// jobctl models add: what a model file is, its name in the database, its stanza in the
// configuration.
#include <CLI/CLI.hpp>
#include <cctype>
#include <filesystem>
#include <iostream>

#include "lib/config/config.h"
#include "lib/model/content_hash.h"
#include "lib/weights/model_file.h"
#include "tools/jobctl/commands.h"
#include "tools/jobctl/config_file.h"
#include "tools/jobctl/given_model.h"
#ifdef PARKD_HAVE_POSTGRES
#include "lib/store/postgres/client.h"
#endif

namespace parkd::jobctl {
namespace {

namespace fs = std::filesystem;

struct AddOptions {
  std::string model;  // a path, or an hf_id
  std::string name;
  std::string dtype = "bf16";
  std::string config;
};

// "smollm2-135m-instruct.q4_1" of ".../SmolLM2-135M-Instruct.Q4_1.gguf"; of a directory its name,
// and of a snapshot in the hub's cache the repository's.
std::string name_of(const ModelFile& file) {
  std::error_code error;
  const fs::path path = file.path;
  const bool is_directory = fs::is_directory(path, error);
  std::string name = (is_directory ? path.filename() : path.stem()).string();
  if (is_directory && file.hub) name = fs::path(file.hub->repository).filename().string();
  for (char& c : name) {
    const auto byte = static_cast<unsigned char>(c);
    c = std::isalnum(byte) != 0 || c == '.' || c == '_' || c == '-'
            ? static_cast<char>(std::tolower(byte))
            : '-';
  }
  return name;
}

#ifdef PARKD_HAVE_POSTGRES
Status register_in(const std::string& dsn, const PostgresClient::Model& model) {
  PostgresClient database(dsn, "");
  PARKD_ASSIGN_OR_RETURN(const bool same, database.register_model(model));
  if (same) return {};
  return conflict(
      "the database knows " + model.name +
      " by another content hash: the files (or the dtype) differ. Choose another "
      "--name, or, where the new files are meant, UPDATE parkd.models SET content_hash = NULL "
      "WHERE name = '" +
      model.name + "' first");
}
#endif

int add(const GlobalOptions& globals, const AddOptions& options) {
  const auto dsn = chosen_dsn(globals);
  if (!dsn.ok()) return report(dsn.status());
  const auto dtype = parse_dtype(options.dtype);
  if (!dtype.ok()) return report(dtype.status());
  const auto file = find_given_model(options.model);
  if (!file.ok()) return report(file.status());
  const auto card = load_model_card(file->path);
  if (!card.ok()) return report(card.status());

  NewModel model;
  model.name = options.name.empty() ? name_of(*file) : options.name;
  // Pinned, so that the daemon takes the file that was looked at; from its own user's cache.
  if (file->hub) {
    model.hf_id = file->hub->pinned_id();
  } else {
    model.local_path = file->path;
  }
  model.dtype = options.dtype;
  const std::string stanza = model_stanza(model);
  if (const Status status = check_stanza(stanza); !status.ok()) return report(status);
  const std::string hash = model_content_hash(**card, *dtype);
  const ModelShape& shape = (*card)->shape;
  std::cerr << "name          " << model.name << "\n"
            << "file          " << file->path << "\n"
            << "architecture  " << (*card)->architecture << ", " << shape.n_layers << " layers, "
            << (*card)->n_parameters / 1'000'000 << " M parameters (" << (*card)->weight_types
            << ")\n"
            << "context       " << shape.context_tokens << " tokens\n"
            << "content hash  " << hash << "\n";
  // Written last: a name that the database refuses does not get into the file, and the other way.
  Result<std::string> config = std::string();
  if (!options.config.empty()) config = file_with_model(options.config, model);
  if (!config.ok()) return report(config.status());
#ifdef PARKD_HAVE_POSTGRES
  if (*dsn) {
    const Status status =
        register_in(**dsn, {model.name, hash, shape.context_tokens, /*paused=*/false});
    if (!status.ok()) return report(status);
    std::cerr << "registered in the database\n";
  }
#endif
  if (options.config.empty()) {
    std::cout << stanza;
    return kExitOk;
  }
  if (const Status status = replace_file(options.config, *config); !status.ok()) {
    return report(status);
  }
  std::cerr << "written into " << options.config << "\n";
  return kExitOk;
}

}  // namespace

void add_models_add(CLI::App& models, const GlobalOptions& globals, Chosen& chosen) {
  auto options = std::make_shared<AddOptions>();
  CLI::App* command = models.add_subcommand(
      "add", "Look at a model, print its stanza for the configuration, register it (--dsn)");
  command
      ->add_option("model", options->model,
                   "A GGUF file, a directory with config.json and safetensors, or an hf_id: "
                   "ORG/NAME[@REVISION][:FILE.gguf] in the local Hugging Face cache")
      ->required();
  command->add_option("--name", options->name, "What jobs call it (default: the file's name)");
  command->add_option("--dtype", options->dtype, "bf16, f16 or f32 (default: bf16)");
  command->add_option("--config", options->config, "Write the stanza into this file");
  command->callback([options, &globals, &chosen] {
    chosen = [options, &globals] { return add(globals, *options); };
  });
}

}  // namespace parkd::jobctl
