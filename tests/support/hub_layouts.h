// Tiny models laid out file by file as two repositories of the hub are, those that the examples of
// tests/config/examples name: their families' shapes of KV memory, small in all else, their kinds
// of tokenizer and template, and the files beside them that nobody reads.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace parkd::testing {

using HubFiles = std::map<std::string, std::vector<uint8_t>>;

// mistralai/Ministral-3-3B-Reasoning-2512: the text inside a model with a vision tower, tied, with
// yarn; tekken.json; a template in its own file, with a system prompt of its own.
HubFiles ministral3_repository();

// mistralai/Mistral-7B-Instruct-v0.3: three shards; tokenizer.json and tokenizer.model of the same
// vocabulary; the template in tokenizer_config.json.
HubFiles mistral7b_repository();

std::vector<uint8_t> file_of(const std::string& text);

}  // namespace parkd::testing
