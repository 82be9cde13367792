// What may have been meant by a subcommand or an option that there is not.
#pragma once

#include <string>

namespace CLI {
class App;
}

namespace parkd::jobctl {

// One line for people about what `app` could not place, after its parse failed: "unknown subcommand
// \"submt\": did you mean submit?". Empty: every word is known.
std::string explain_unknown(const CLI::App& app);

}  // namespace parkd::jobctl
