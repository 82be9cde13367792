// Reading fields of the daemon's answers: a field that is missing or of another type is its
// default.
#pragma once

#include <boost/json/value.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace parkd::jobctl {

// The value at `path` ("response.body.usage"), or null.
const boost::json::value* find(const boost::json::value& from, std::string_view path);
std::string text_at(const boost::json::value& from, std::string_view path);
int64_t number_at(const boost::json::value& from, std::string_view path);
bool flag_at(const boost::json::value& from, std::string_view path);
std::vector<boost::json::value> list_at(const boost::json::value& from, std::string_view path);

// The answer in a message, or in the partial body of a failed one: the choice's text; of several
// each, behind a line that says which.
std::string answer_text(const boost::json::value& message);
// The code of a result line (OpenAI's batch output) that did not complete; empty: it did.
std::optional<std::string> failure_code(const boost::json::value& line);
// ... and the message that goes with it.
std::string failure_message(const boost::json::value& line);
// "failed: run_timeout: ..." of a message that did not complete.
std::string outcome_text(const boost::json::value& message);

}  // namespace parkd::jobctl
