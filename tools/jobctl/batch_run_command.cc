// jobctl batch run: a file of OpenAI batch lines in, a file of OpenAI result lines out.
#include <CLI/CLI.hpp>
#include <sstream>

#include "lib/base/clock.h"
#include "tools/jobctl/batch_run.h"
#include "tools/jobctl/commands.h"
#include "tools/jobctl/priority_option.h"
#include "tools/jobctl/time_option.h"

namespace parkd::jobctl {
namespace {

int batch_run(const GlobalOptions& globals, const BatchRunOptions& options) {
  auto input = BatchInput::open(options.input);
  if (!input.ok()) return report(input.status());
  SystemClock clock;
  const auto deadline = parse_instant("--deadline", options.deadline, clock.now());
  if (!deadline.ok()) return report(deadline.status());
  int64_t retention_s = 0;
  if (!options.retention.empty()) {
    const auto retention = parse_duration("--retention", options.retention);
    if (!retention.ok()) return report(retention.status());
    retention_s = retention->count();
  }
  RetryCodes retry;
  if (!options.retry_failed.empty()) {
    retry.emplace();
    std::istringstream codes(options.retry_failed);
    for (std::string code; std::getline(codes, code, ',');) retry->push_back(code);
  }
  auto output =
      BatchOutput::open(options.output, *input,
                        {options.model, options.priority, *deadline, options.retention}, retry);
  if (!output.ok()) return report(output.status());
  take_signals();
  const auto client = connect(globals);
  if (!client.ok()) return report(client.status());
  return BatchRun(options, retention_s, **client, std::move(input).value(),
                  std::move(output).value())
      .run();
}

}  // namespace

void add_batch_run(CLI::App& batch, const GlobalOptions& globals, Chosen& chosen) {
  auto options = std::make_shared<BatchRunOptions>();
  CLI::App* command = batch.add_subcommand(
      "run", "Run OpenAI batch lines; run the same command again after any interruption");
  command->add_option("input", options->input, "JSONL of OpenAI batch lines; - = standard input")
      ->required();
  command
      ->add_option("-o,--output", options->output,
                   "JSONL of results, a file of this run's own; - = standard output")
      ->required();
  command->add_flag("--retry-failed{*}", options->retry_failed,
                    "Run the failed lines of a complete run again; --retry-failed=CODE,CODE: only "
                    "those that failed with one of these");
  command->add_flag("--cancel-on-interrupt", options->cancel_on_interrupt,
                    "Ctrl-C, or SIGTERM, ends what parkd has of the run, too");
  command->add_option("--model", options->model, "Run every line on this model");
  command->add_option("--priority", options->priority, "high, normal or low (default: low)")
      ->check(is_priority());
  command
      ->add_option("--deadline", options->deadline,
                   "+8h, or 2026-01-31T12:00:00Z: what has not run by then fails (default and "
                   "longest: 30 days)")
      ->check(refuse_empty);
  command->add_option("--retention", options->retention, "Life of the results in parkd: 1m to 30d")
      ->check(refuse_empty);
  command->callback([options, &globals, &chosen] {
    chosen = [options, &globals] { return batch_run(globals, *options); };
  });
}

}  // namespace parkd::jobctl
