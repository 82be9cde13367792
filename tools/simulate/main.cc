// parkd_simulate: what lanes, sequences and step sizes would give on GPUs, by a model of their
// steps. Nothing it prints was measured.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

#include "tools/simulate/tables.h"

namespace {

using namespace parkd::simulate;

// Those of `all` that are named; all of them where none is.
template <class Sheet>
void narrow(std::vector<Sheet>& all, const std::vector<std::string>& names) {
  if (names.empty()) return;
  std::erase_if(all, [&](const Sheet& sheet) {
    return std::find(names.begin(), names.end(), sheet.name) == names.end();
  });
}

template <class Sheet>
std::vector<std::string> names_of(const std::vector<Sheet>& sheets) {
  std::vector<std::string> names;
  for (const Sheet& sheet : sheets) names.push_back(sheet.name);
  return names;
}

// The rows of `tables` that a page lacks.
int check(const std::string& tables, const std::string& path) {
  std::ifstream file(path);
  std::string page = "\n";
  page.append(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  std::istringstream rows(tables);
  int n_missing = 0;
  for (std::string row; std::getline(rows, row);) {
    if (row.empty() || page.find("\n" + row + "\n") != std::string::npos) continue;
    if (n_missing++ == 0) std::cout << path << " lacks what parkd_simulate prints:\n";
    std::cout << row << "\n";
  }
  return n_missing == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Models, and never measures, how parkd's scheduler would run on GPUs.");
  Choice choice = whole_choice();
  std::vector<std::string> tables, models, devices, jobs;
  std::string page;
  bool smoke = false;
  const std::vector<std::string> known = {"backlog", "step_tokens", "latency"};
  app.add_option("tables", tables, "backlog, step_tokens, latency (all when none is named)")
      ->check(CLI::IsMember(known));
  app.add_option("--model", models, "Only these")->check(CLI::IsMember(names_of(model_sheets())));
  app.add_option("--device", devices, "Only these")
      ->check(CLI::IsMember(names_of(device_sheets())));
  app.add_option("--jobs", jobs, "Only these mixes")->check(CLI::IsMember(names_of(mixes())));
  app.add_option("--seed", choice.seed, "Of arrivals and lengths (default: 1)");
  app.add_flag("--smoke", smoke, "Smallest sizes: shows that it runs");
  app.add_option("--check", page, "Fails where this page lacks a row")->check(CLI::ExistingFile);
  CLI11_PARSE(app, argc, argv);

  const uint64_t seed = choice.seed;
  if (smoke) choice = smoke_choice();
  choice.seed = seed;
  if (!models.empty()) choice.models = model_sheets();
  narrow(choice.models, models);
  narrow(choice.devices, devices);
  narrow(choice.mixes, jobs);
  std::string text;
  for (const std::string& table : tables.empty() ? known : tables) {
    if (!text.empty()) text += '\n';
    if (table == "backlog") text += backlog_table(choice);
    if (table == "step_tokens") text += step_tokens_table(choice);
    if (table == "latency") text += latency_table(choice);
  }
  if (!page.empty()) return check(text, page);
  std::cout << "A model, not a measurement: parkd has not run on these devices. Seed " << seed
            << ".\n\n"
            << text;
  return EXIT_SUCCESS;
}
