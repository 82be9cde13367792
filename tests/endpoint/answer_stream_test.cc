// Answers as they come, held against the body that is rendered of the whole.
#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "lib/endpoint/answer_stream.h"
#include "lib/endpoint/model_endpoint.h"
#include "lib/job/endpoints.h"
#include "lib/job/job.h"
#include "lib/model/model_card.h"
#include "lib/openai/stored_answer.h"
#include "lib/text/output_text.h"
#include "tests/endpoint/answer_models.h"
#include "tests/support/random_data.h"

namespace parkd {
namespace {

struct World {
  std::shared_ptr<const ModelCard> card;
  std::shared_ptr<const ModelEndpoint> endpoint;
  Job job;
};

World world_of(const char* chat_template, std::shared_ptr<const Tokenizer> tokenizer,
               const std::string& body, const std::string& path) {
  World world;
  world.card = testing::card_of(chat_template, std::move(tokenizer));
  world.endpoint = std::make_shared<const ModelEndpoint>(world.card, testing::endpoint_options());
  world.job.id = 9;
  world.job.spec.model = "tiny";
  world.job.spec.body = body;
  world.job.spec.endpoint = path;
  return world;
}

// Runs the tokens through the text as a sequence does, telling a stream of it after each, and
// compares all that came with the beginning of what is stored.
void expect_begins_the_answer(const World& world, const std::vector<TokenId>& tokens,
                              const std::vector<std::string>& stop, bool all_of_it) {
  auto plan = ModelEndpoint::plan_stream(world.endpoint, world.job);
  ASSERT_TRUE(plan.ok()) << plan.status().to_string();
  const bool drops = plan->drops_first_space;
  AnswerStream stream(std::move(plan).value());
  OutputText text(stop, drops);
  ChoiceTokens so_far;
  GeneratedChoice choice;
  std::string reasoning;
  std::string content;
  std::vector<LogprobJson> logprobs;
  const auto tell = [&](const OutputText::Piece& piece) {
    so_far.text += piece.text;
    for (size_t i = 0; i < piece.n_tokens; ++i) {
      const TokenId token = tokens[piece.first_token + i];
      so_far.tokens.push_back(token);
      so_far.logprobs.push_back({token, -1, {}});
    }
    so_far.n_text_bytes = text.n_released_bytes();
    const AnswerStream::Piece shown = stream.advance(0, so_far);
    reasoning += shown.reasoning;
    content += shown.content;
    logprobs.insert(logprobs.end(), shown.logprobs.begin(), shown.logprobs.end());
  };
  for (const TokenId token : tokens) {
    if (text.append(world.card->tokenizer->token_bytes(token))) break;
    tell(text.release());
  }
  tell(text.release_rest());
  choice.text = text.text();
  choice.n_text_bytes = text.n_bytes();
  choice.tokens.assign(tokens.begin(),
                       tokens.begin() + static_cast<std::ptrdiff_t>(text.n_kept_tokens()));
  for (const TokenId token : choice.tokens) choice.logprobs.push_back({token, -1, {}});
  GenerationResult result;
  result.choices.push_back(choice);
  const auto stored =
      read_stored_answer(world.endpoint->render(EndedRun{world.job, result, true, {}}));
  ASSERT_TRUE(stored.ok()) << stored.status().to_string();
  const StoredChoice& whole = stored->choices[0];
  EXPECT_TRUE(whole.reasoning.starts_with(reasoning)) << whole.reasoning << " | " << reasoning;
  EXPECT_TRUE(whole.content.starts_with(content)) << whole.content << " | " << content;
  if (all_of_it) {
    EXPECT_EQ(whole.content, content);
  }
  ASSERT_EQ(logprobs.size(), whole.logprobs.size());
  for (size_t i = 0; i < logprobs.size(); ++i) {
    EXPECT_EQ(logprobs[i].token, whole.logprobs[i].token);
    EXPECT_EQ(logprobs[i].offset, whole.logprobs[i].offset);
  }
}

constexpr const char* kChat = R"({"messages":[{"role":"user","content":"Hello"}]})";
constexpr const char* kTools = R"({"messages":[{"role":"user","content":"Hello"}],)"
                               R"("tools":[{"type":"function","function":{"name":"get"}}]})";

TEST(AnswerStream, is_how_the_stored_answer_begins_whatever_was_written) {
  const uint64_t seed = testing::fresh_seed();
  std::mt19937_64 random(seed);
  const std::vector<std::string> words = {"<think>",
                                          "</think>",
                                          "<tool_call>",
                                          "</tool_call>",
                                          "{\"name\": \"get\"}",
                                          "\n",
                                          " ",
                                          "e",
                                          "\xc3\xa4",
                                          "\xe2\x98\x83",
                                          "stop",
                                          "st",
                                          "ab",
                                          "<",
                                          "[THINK]",
                                          "[/THINK]",
                                          std::string(1, '\0'),
                                          "[TOOL_CALLS]",
                                          "get",
                                          "[ARGS]",
                                          "{}"};
  const std::vector<World> worlds = {
      world_of(testing::kHermes, nullptr, kTools, path_of(Endpoint::chat)),
      world_of(testing::kHermes, nullptr, kChat, path_of(Endpoint::chat)),
      world_of(testing::kMistral, testing::spaced_tokenizer(), kTools, path_of(Endpoint::chat)),
      world_of(testing::kMistral, testing::spaced_tokenizer(), kChat, path_of(Endpoint::chat)),
      world_of(testing::kHermes, nullptr, R"({"prompt":"x"})", path_of(Endpoint::completions)),
  };
  for (int i = 0; i < 2000; ++i) {
    const World& world = worlds[random() % worlds.size()];
    std::string text;
    for (size_t n = random() % 14; n > 0; --n) text += words[random() % words.size()];
    std::vector<TokenId> tokens =
        world.card->tokenizer->encode(text, SpecialTokens::parsed).value();
    // Bytes that are no text.
    if (random() % 4 == 0 && !tokens.empty()) tokens.resize(tokens.size() - 1);
    std::vector<std::string> stop;
    if (random() % 3 == 0) stop = {"stop", "ab"};
    SCOPED_TRACE("seed " + std::to_string(seed) + ", text " + text);
    const bool all_of_it = world.job.spec.endpoint != path_of(Endpoint::chat);
    expect_begins_the_answer(world, tokens, stop, all_of_it);
    if (::testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace parkd
