// The messages of a chat request's body. Pure, any thread.
#pragma once

#include <boost/json/fwd.hpp>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/status.h"
#include "lib/text/chat_message.h"

namespace parkd {

// Of the smallest message in JSON: a list has no more of them than its bytes divided by this.
inline constexpr size_t kShortestMessageBytes =
    std::string_view(R"({"role":"user","content":""})").size();

// How a content is written that comes in parts.
struct TextPartForm {
  std::span<const std::string_view> types;  // of a part that is text; at least one
  // Members beside type and text that may be there with nothing in them.
  std::span<const std::string_view> empty_members{};
};

// A text, or a list of parts. Errors: as read_messages.
Status read_content(const std::string& field, const boost::json::value& value,
                    const TextPartForm& form, ChatMessage& out);

// Appends them to `out`. `written`: the field as it stands in the body. Errors: invalid, param =
// the field ("messages[2].content").
Status read_messages(const std::string& field, const boost::json::value& value,
                     std::string_view written, std::vector<ChatMessage>& out);

}  // namespace parkd
