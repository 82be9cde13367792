// What a chat template expects of messages, which families do differently, found by rendering a
// few conversations of our own: a template is asked, not its text guessed at. Pure, any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/jinja/template.h"
#include "lib/jinja/value.h"
#include "lib/text/chat_message.h"

namespace parkd {

// How a template wants the arguments of an earlier call.
enum class CallArguments : uint8_t {
  none,     // it does not show calls
  mapping,  // as a dict, which it writes itself
  text,     // as the JSON text that came
};

struct TemplateTraits {
  bool takes_text = true;  // the content of a message as a text; else as a list of parts
  bool takes_parts = false;
  bool takes_tools = false;  // it shows them
  CallArguments call_arguments = CallArguments::none;
  bool empty_for_none = false;  // a message of calls alone has an empty content, rather than none
  // What it writes for a call of kProbeCall in an assistant's turn: the whole text.
  std::string written_call;
};

inline constexpr std::string_view kProbeCall = "parkd_probe_call";

// The message as the template's variable. `tag` is put behind its text. Everything in it but its
// keys, and a role that OpenAI has, is content.
jinja::Value value_of(const ChatMessage& message, const TemplateTraits& traits,
                      std::string_view tag);

// Renders `made`, with `specials` as variables, a few times within small bounds.
TemplateTraits find_traits(const jinja::Template& made,
                           std::span<const std::pair<std::string, jinja::Value>> specials);

}  // namespace parkd
