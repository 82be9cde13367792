// jobctl models check: what a model is and what it takes on the CPU, before it is loaded; or what
// is in the way of loading it.
#include <CLI/CLI.hpp>
#include <iostream>

#include "lib/backend/cpu/cpu_backend.h"
#include "lib/backend/models_outlook.h"
#include "lib/base/json_writer.h"
#include "lib/base/text.h"
#include "tools/jobctl/commands.h"
#include "tools/jobctl/given_model.h"

namespace parkd::jobctl {
namespace {

struct CheckOptions {
  std::string model;  // a path, or an hf_id
  std::string dtype = "bf16";
  int64_t kvcache_mem_cpu = 1024;
  int32_t block_size = 32;
  int32_t max_num_seqs = kCpuSequences;
  int32_t context = 0;  // 0: the model's own
  int64_t memory_mb = 0;
};

struct Found {
  ModelFile file;
  std::shared_ptr<const ModelCard> card;
  Dtype dtype = Dtype::bf16;
  UnitCapacity units;
  int32_t block_size = 0;
  int32_t context = 0;    // asked for, or the model's
  int64_t job_units = 0;  // of a job that fills it
  CpuMemory memory;
  int64_t budget_bytes = 0;
  Status fits;  // in the budget
};

Result<Found> look(const CheckOptions& options) {
  Found found;
  PARKD_ASSIGN_OR_RETURN(found.dtype, parse_dtype(options.dtype));
  if (options.block_size % 32 != 0) {
    return invalid("--block-size is " + std::to_string(options.block_size) +
                   ", it must be a multiple of 32");
  }
  PARKD_ASSIGN_OR_RETURN(found.file, find_given_model(options.model));
  PARKD_ASSIGN_OR_RETURN(found.card, load_model_card(found.file.path));
  CpuBackendOptions backend;
  backend.shape = found.card->shape;
  backend.dtype = found.dtype;
  PARKD_RETURN_IF_ERROR(make_cpu_backend(backend).status());
  const int32_t context_max = found.card->shape.context_tokens;
  if (options.context > context_max) {
    return invalid("--context is " + std::to_string(options.context) + ", the model's is " +
                   std::to_string(context_max) + " tokens");
  }
  ModelConfig model;
  model.name = options.model;
  model.params.dtype = found.dtype;
  model.params.kvcache_mem_cpu_mb = options.kvcache_mem_cpu;
  model.params.block_size = options.block_size;
  model.params.max_num_seqs = options.max_num_seqs;
  found.block_size = options.block_size;
  found.units = unit_capacity(
      kv_capacity_blocks(options.kvcache_mem_cpu, kv_shape_of(model.params, found.card->shape)),
      {});
  found.context = options.context > 0 ? options.context : context_max;
  found.job_units = ceil_div(found.context, found.block_size);
  DaemonConfig daemon;
  if (options.memory_mb > 0) daemon.memory_mb = options.memory_mb;
  found.memory = cpu_memory_of(model, *found.card, found.units.blocks, daemon.step_tokens_on_cpu());
  found.budget_bytes = memory_budget_bytes(daemon);
  found.fits = check_fits_alone(options.model, found.memory, found.budget_bytes);
  if (found.units.blocks.count < 1) {
    found.fits = invalid("no KV block fits into " + std::to_string(options.kvcache_mem_cpu) +
                         " MiB: give more (--kvcache-mem-cpu)");
  }
  return found;
}

void print(const Found& found) {
  const ModelCard& card = *found.card;
  const CpuMemory& memory = found.memory;
  std::cout << "file       " << found.file.path << "\n"
            << "family     " << card.architecture << ", " << card.shape.n_layers << " layers, "
            << card.n_parameters / 1'000'000 << " M parameters\n"
            << "types      " << card.weight_types << "\n"
            << "tokenizer  " << card.shape.vocab << " tokens\n"
            << "template   "
            << (card.chat_template ? "there is one"
                                   : "none: a base model, for /v1/completions bodies only")
            << "\n"
            << "context    " << card.shape.context_tokens << " tokens\n"
            << "memory     " << describe(memory) << "; models may take "
            << mib_text(found.budget_bytes) << " here\n"
            << "units      " << found.units.blocks.count << " of " << found.block_size
            << " tokens; a job of " << found.context << " tokens takes " << found.job_units
            << (found.job_units > found.units.blocks.count ? ", more than there are" : "") << "\n";
  if (!card.left_out.empty()) std::cout << "left out   " << card.left_out << "\n";
}

void write(const CheckOptions& options, const Result<Found>& looked) {
  const Status status = looked.ok() ? looked->fits : looked.status();
  JsonWriter json;
  json.begin_object().member("model", options.model).member("loads", status.ok());
  if (!status.ok()) json.member("error", status.message());
  if (looked.ok()) {
    const ModelCard& card = *looked->card;
    json.member("path", looked->file.path);
    if (looked->file.hub) json.member("hf_id", looked->file.hub->pinned_id());
    json.member("family", card.architecture);
    json.member("types", card.weight_types);
    json.member("parameters", card.n_parameters);
    json.member("vocabulary", card.shape.vocab);
    json.member("chat_template", card.chat_template.has_value());
    json.member("context_tokens", card.shape.context_tokens);
    if (!card.left_out.empty()) json.member("left_out", card.left_out);
    json.member("dtype", to_string(looked->dtype));
    json.begin_object("memory");
    write_members(json, looked->memory);
    json.member("budget_bytes", looked->budget_bytes);
    json.end_object();
    json.member("block_size", looked->block_size);
    json.member("capacity_units", looked->units.blocks.count);
    json.member("context", looked->context);
    json.member("units_of_context", looked->job_units);
  }
  std::cout << json.end_object().take() << "\n";
}

int check(const GlobalOptions& globals, const CheckOptions& options) {
  const auto looked = look(options);
  if (globals.json) write(options, looked);
  if (!looked.ok()) return report(looked.status());
  if (!globals.json) print(*looked);
  return looked->fits.ok() ? kExitOk : report(looked->fits);
}

}  // namespace

void add_models_check(CLI::App& models, const GlobalOptions& globals, Chosen& chosen) {
  auto options = std::make_shared<CheckOptions>();
  CLI::App* command = models.add_subcommand(
      "check", "Say what a model is and takes on the CPU, or why it would not load");
  command
      ->add_option("model", options->model,
                   "A GGUF file, a directory with config.json and safetensors, or an hf_id: "
                   "ORG/NAME[@REVISION][:FILE.gguf] in the local Hugging Face cache")
      ->required();
  command->add_option("--dtype", options->dtype, "bf16, f16 or f32 (default: bf16)");
  command->add_option("--context", options->context, "Units of a job of so many tokens")
      ->check(CLI::PositiveNumber);
  command
      ->add_option("--kvcache-mem-cpu", options->kvcache_mem_cpu, "MiB of KV cache (default: 1024)")
      ->check(CLI::Range(1, 1 << 24));
  command->add_option("--block-size", options->block_size, "Tokens of a unit (default: 32)")
      ->check(CLI::Range(32, 256));
  command->add_option("--max-num-seqs", options->max_num_seqs, "Sequences at once (default: 16)")
      ->check(CLI::Range(1, 4096));
  command
      ->add_option("--memory-mb", options->memory_mb,
                   "MiB for all models (default: four fifths of what is available)")
      ->check(CLI::Range(1, 1 << 24));
  command->callback([options, &globals, &chosen] {
    chosen = [options, &globals] { return check(globals, *options); };
  });
}

}  // namespace parkd::jobctl
