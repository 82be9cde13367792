#include "lib/endpoint/answer_stream.h"

#include <utility>

#include "lib/endpoint/model_endpoint.h"
#include "lib/text/output_text.h"

namespace parkd {

AnswerStream::Choice& AnswerStream::choice_at(size_t index) {
  while (choices_.size() <= index) {
    Choice choice;
    choice.drops_of_tokens = choice.drops_of_logprobs = plan_.drops_first_space;
    if (plan_.plan) {
      choice.parser = std::make_unique<AnswerParser>(plan_.model->answer_form(), *plan_.plan);
    }
    choices_.push_back(std::move(choice));
  }
  return choices_[index];
}

AnswerStream::Piece AnswerStream::advance(size_t index, const ChoiceTokens& so_far) {
  Choice& choice = choice_at(index);
  Piece piece;
  if (choice.parser != nullptr) {
    parse(choice, so_far);
    choice.parsed = choice.parser->take_new();
    piece.reasoning = choice.parsed.reasoning;
    piece.content = choice.parsed.content;
  } else {
    piece.content = std::string_view(so_far.text).substr(choice.text_at);
    choice.text_at = so_far.text.size();
  }
  piece.logprobs = show_logprobs(choice, so_far);
  return piece;
}

// A token counts once all of its bytes are released: of the last, a stop string may cut some off.
void AnswerStream::parse(Choice& choice, const ChoiceTokens& so_far) const {
  for (; choice.token_at < so_far.tokens.size(); ++choice.token_at) {
    const TokenId token = so_far.tokens[choice.token_at];
    bool drops = choice.drops_of_tokens;
    const std::string_view bytes =
        without_first_space(plan_.model->tokenizer().token_bytes(token), drops);
    if (choice.bytes_at + bytes.size() > so_far.n_text_bytes) return;
    choice.drops_of_tokens = drops;
    choice.bytes_at += bytes.size();
    choice.parser->feed(token, bytes);
  }
}

std::vector<LogprobJson> AnswerStream::show_logprobs(Choice& choice,
                                                     const ChoiceTokens& so_far) const {
  std::vector<LogprobJson> shown;
  for (; choice.logprob_at < so_far.logprobs.size(); ++choice.logprob_at) {
    const ShownLogprob logprob = show_logprob(
        plan_.model->tokenizer(), so_far.logprobs[choice.logprob_at], choice.drops_of_logprobs);
    shown.push_back(plan_.endpoint == Endpoint::chat
                        ? chat_logprob_json(logprob)
                        : text_logprob_json(logprob, choice.characters));
  }
  return shown;
}

}  // namespace parkd
