#include "tools/jobctl/mistyped.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <vector>

#include "lib/base/nearest_word.h"

namespace parkd::jobctl {
namespace {

// The subcommands that were recognised, `app` first.
std::vector<const CLI::App*> parsed_chain(const CLI::App& app) {
  std::vector<const CLI::App*> chain = {&app};
  for (std::vector<CLI::App*> next = app.get_subcommands(); !next.empty();
       next = next.front()->get_subcommands()) {
    chain.push_back(next.front());
  }
  return chain;
}

std::vector<std::string> subcommands_of(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* sub : app.get_subcommands([](const CLI::App*) { return true; })) {
    names.push_back(sub->get_name());
  }
  return names;
}

std::vector<std::string> options_of(const std::vector<const CLI::App*>& chain) {
  std::vector<std::string> names;
  for (const CLI::App* app : chain) {
    for (const CLI::Option* option : app->get_options()) {
      for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
    }
  }
  return names;
}

// The nearest of `names`; empty when none is near.
std::string nearest(const std::string& word, const std::vector<std::string>& names) {
  std::string best;
  size_t best_distance = std::max<size_t>(1, word.size() / 3) + 1;
  for (const std::string& name : names) {
    // "--stat" may be the beginning of what was meant.
    const bool begins = word.size() >= 3 && name.rfind(word, 0) == 0;
    const size_t distance = begins ? 1 : edit_distance(word, name);
    if (distance >= best_distance) continue;
    best_distance = distance;
    best = name;
  }
  return best;
}

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

}  // namespace

std::string explain_unknown(const CLI::App& app) {
  const std::vector<const CLI::App*> chain = parsed_chain(app);
  const std::vector<std::string> subcommands = subcommands_of(*chain.back());
  std::string command;
  for (const CLI::App* part : chain) {
    if (part != &app) command += " " + part->get_name();
  }
  for (const std::string& given : app.remaining(true)) {
    const bool is_option = given.size() > 2 && given.rfind("--", 0) == 0;
    if (!is_option && (given.empty() || given.front() == '-' || subcommands.empty())) continue;
    const std::string word = is_option ? given.substr(0, given.find('=')) : given;
    const std::string meant = nearest(word, is_option ? options_of(chain) : subcommands);
    std::string text = std::string("unknown ") + (is_option ? "option " : "subcommand \"") + word;
    text += is_option ? " of jobctl" + command : "\" of jobctl" + command;
    if (!meant.empty()) return text + ": did you mean " + meant + "?";
    return text + (is_option ? ": jobctl" + command + " --help lists them"
                             : ": there are " + joined(subcommands));
  }
  return {};
}

}  // namespace parkd::jobctl
