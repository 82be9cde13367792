#include "lib/jinja/template.h"

#include <algorithm>

#include "lib/base/text.h"
#include "lib/jinja/evaluator.h"
#include "lib/jinja/lexer.h"
#include "lib/jinja/parser.h"

namespace parkd::jinja {
namespace {

constexpr size_t kMessageBytesMax = 600;

Status status_of(const Fault& fault, int line) {
  std::string message = repair_utf8(fault.message.substr(0, kMessageBytesMax));
  if (message.size() < fault.message.size()) message += "...";
  if (fault.kind == Fault::Kind::raised) return invalid("the template refuses: " + message);
  if (line == 0) return invalid("the template " + message);
  return invalid("the template, line " + std::to_string(line) + ": " + message);
}

}  // namespace

Result<Template> Template::compile(std::string_view source, const Limits& limits) {
  try {
    StatementParser parser(read_tokens(source, limits), limits);
    return Template(std::make_shared<const Program>(parser.read()), limits);
  } catch (const Fault& fault) {
    return status_of(fault, fault.line);
  }
}

Result<Text> Template::render(std::span<const Variable> variables,
                              std::chrono::sys_seconds now) const {
  Runtime runtime(limits_, now);
  Evaluator evaluator(*program_, runtime);
  const auto& names = program_->names;
  for (const auto& [name, value] : variables) {
    const auto known = std::find(names.begin(), names.end(), name);
    if (known == names.end()) continue;
    evaluator.set(static_cast<NameId>(known - names.begin()), value);
  }
  try {
    return evaluator.run();
  } catch (const Fault& fault) {
    return status_of(fault, evaluator.line());
  }
}

}  // namespace parkd::jinja
