// AnswerStream: what the tokens of a run are in its answer, while they come: the content of each
// choice, what it reasons before, and logprobs. All pieces of a choice in a row are how the stored
// answer's texts begin; what is not certain until its end (calls, blanks before them, a character
// that is not complete) does not come from here.
//
// For one listener; one thread at a time. Keeps what it needs of its model alive.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/dispatch/token_feed.h"
#include "lib/endpoint/answer_choices.h"
#include "lib/job/endpoints.h"
#include "lib/openai/answer_parser.h"
#include "lib/openai/completion_response.h"

namespace parkd {

class ModelEndpoint;

// How a job's answer is to be shown; as ChoiceView has it, with what it refers to.
struct AnswerStreamPlan {
  std::shared_ptr<const ModelEndpoint> model;  // owns tokenizer and form
  Endpoint endpoint = Endpoint::chat;
  std::optional<AnswerPlan> plan{};
  bool drops_first_space = false;
};

class AnswerStream {
 public:
  explicit AnswerStream(AnswerStreamPlan plan) : plan_(std::move(plan)) {}

  struct Piece {
    std::string_view reasoning;  // both: until the next advance()
    std::string_view content;
    std::vector<LogprobJson> logprobs;
    bool empty() const { return reasoning.empty() && content.empty() && logprobs.empty(); }
  };
  // What is new of the choice at `index`. `so_far` has grown since the last call of the choice;
  // of another run, restart() comes first.
  Piece advance(size_t index, const ChoiceTokens& so_far);
  void restart() { choices_.clear(); }

 private:
  struct Choice {
    size_t text_at = 0;
    size_t token_at = 0;
    size_t bytes_at = 0;  // of the tokens that were fed
    size_t logprob_at = 0;
    bool drops_of_tokens = false;  // the first space is still to come, of the tokens that are fed
    bool drops_of_logprobs = false;
    int64_t characters = 0;  // the text_offset of completions
    std::unique_ptr<AnswerParser> parser;
    AnswerParser::Piece parsed;
  };
  Choice& choice_at(size_t index);
  void parse(Choice& choice, const ChoiceTokens& so_far) const;
  std::vector<LogprobJson> show_logprobs(Choice& choice, const ChoiceTokens& so_far) const;

  AnswerStreamPlan plan_;
  std::vector<Choice> choices_;
};

}  // namespace parkd
