// Template: a Jinja template, read once and rendered often.
//
// The language of Hugging Face's chat templates, as transformers sets Jinja up (sandboxed and
// immutable, trim_blocks, lstrip_blocks, loop controls, {% generation %}, its own tojson,
// raise_exception and strftime_now), with Python's arithmetic and formatting. What is rendered
// keeps where it came from (text.h): the template's own text is literal, what is in `variables` is
// what they say.
//
// Immutable; any thread. A render is bounded (Limits) whatever the template and the variables are.
#pragma once

#include <chrono>
#include <memory>
#include <span>
#include <string_view>
#include <utility>

#include "lib/base/status.h"
#include "lib/jinja/budget.h"
#include "lib/jinja/syntax.h"
#include "lib/jinja/text.h"
#include "lib/jinja/value.h"

namespace parkd::jinja {

using Variable = std::pair<std::string_view, Value>;

class Template {
 public:
  // Errors: invalid, "the template, line 3: ..." or "the template is too large ...".
  static Result<Template> compile(std::string_view source, const Limits& limits);

  // `now` is what strftime_now tells, in UTC. Errors: invalid; "the template refuses: ..." where
  // it raises, "the template, line 3: ..." where it fails or a limit is reached.
  Result<Text> render(std::span<const Variable> variables, std::chrono::sys_seconds now) const;

  // The same, whose renders are bounded by other limits.
  Template bounded(const Limits& limits) const { return {program_, limits}; }

 private:
  Template(std::shared_ptr<const Program> program, const Limits& limits)
      : program_(std::move(program)), limits_(limits) {}

  std::shared_ptr<const Program> program_;
  Limits limits_;
};

}  // namespace parkd::jinja
