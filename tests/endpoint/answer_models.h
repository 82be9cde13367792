// Models whose answers hold more than text: reasoning, calls, marks that are tokens.
#pragma once

#include <memory>
#include <utility>

#include "lib/endpoint/model_endpoint.h"
#include "lib/model/model_card.h"
#include "tests/support/tiny_model.h"

namespace parkd::testing {

inline constexpr const char* kHermes =
    "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}{{ m.role }}:"
    "{% if m.tool_calls %}{% for c in m.tool_calls %}<tool_call>\n{{ c.function | tojson }}\n"
    "</tool_call>{% endfor %}{% else %}{{ m.content }}{% endif %}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% if enable_thinking %}<think>\n{% endif %}"
    "{% endif %}{# </think> #}";
inline constexpr const char* kMistral =
    "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}{% if m.tool_calls %}"
    "{% for c in m.tool_calls %}[TOOL_CALLS]{{ c.function.name }}[ARGS]"
    "{{ c.function.arguments | tojson }}{% endfor %}{% else %}{{ m.content }}{% endif %}{% endfor "
    "%}";
inline std::shared_ptr<const ModelCard> card_of(
    const char* source, std::shared_ptr<const Tokenizer> tokenizer = nullptr) {
  ModelCard card = *tiny_model_card();
  card.chat_template = ChatTemplate::from_jinja(source, {}).value();
  if (tokenizer != nullptr) card.tokenizer = std::move(tokenizer);
  return std::make_shared<const ModelCard>(std::move(card));
}

// SentencePiece's way: a space of its own before each text, marks that are tokens and hidden.
inline std::shared_ptr<const Tokenizer> spaced_tokenizer() {
  Vocabulary vocabulary;
  vocabulary.order = Vocabulary::Order::scores;
  vocabulary.from_characters = true;
  vocabulary.byte_fallback = true;
  vocabulary.drop_first_space = true;
  vocabulary.space_prefix = SpacePrefix::first_piece_if_missing;
  for (const char* name : {"</s>", "[THINK]", "[/THINK]", "[TOOL_CALLS]", "[ARGS]"}) {
    AddedToken added;
    added.id = static_cast<TokenId>(vocabulary.tokens.size());
    added.text = name;
    vocabulary.added.push_back(added);
    vocabulary.tokens.push_back({name, TokenKind::control});
  }
  for (int byte = 0; byte < 256; ++byte) {
    vocabulary.tokens.push_back({std::string(1, static_cast<char>(byte)), TokenKind::byte});
  }
  vocabulary.tokens.push_back({" ", TokenKind::text});
  vocabulary.scores.resize(vocabulary.tokens.size());
  vocabulary.eos = 0;
  vocabulary.end_tokens = {0};
  return Tokenizer::make(std::move(vocabulary)).value();
}

inline EndpointOptions endpoint_options() {
  EndpointOptions options;
  options.model = "tiny";
  options.context_tokens = 1024;
  options.block_size = 16;
  options.capacity = Blocks{100};
  options.max_num_seqs = 4;
  return options;
}

}  // namespace parkd::testing
