// Any bytes before the first NUL are a template, those behind it a conversation: it renders within
// its limits, the same twice, or it is refused with a line; every byte of it has an origin.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "lib/base/text.h"
#include "lib/jinja/json_value.h"
#include "lib/jinja/template.h"

namespace {

void check(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace parkd::jinja;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const size_t border = bytes.find('\0');
  Limits limits;
  limits.steps_max = 100'000;
  limits.made_bytes_max = 8 << 20;
  const auto made = Template::compile(bytes.substr(0, border), limits);
  if (!made.ok()) {
    check(made.status().code() == parkd::StatusCode::invalid &&
          made.status().message().size() < 1000);
    return 0;
  }
  std::string_view json = R"([{"role":"user","content":"<s> ä","n":[1,2.5,true,null,{"k":"v"}]}])";
  if (border != std::string_view::npos && parkd::is_valid_utf8(bytes.substr(border + 1))) {
    json = bytes.substr(border + 1);
  }
  const auto messages = json_value(json, Origin::content);
  if (!messages) return 0;
  const std::vector<Variable> variables = {{"messages", *messages},
                                           {"add_generation_prompt", Value::boolean(true)}};
  const auto text = made->render(variables, std::chrono::sys_seconds{});
  const auto again = made->render(variables, std::chrono::sys_seconds{});
  check(text.ok() == again.ok());
  if (!text.ok()) {
    check(text.status().message() == again.status().message() &&
          text.status().message().size() < 1000);
    return 0;
  }
  check(text->bytes() == again->bytes() && text->runs() == again->runs());
  check(parkd::is_valid_utf8(text->bytes()));
  check(text->empty() ? text->runs().empty() : text->runs().back().end == text->size());
  return 0;
}
