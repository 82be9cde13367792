// What a model's name stands for: the hash that daemons compare before they answer under one name,
// and that results carry.
//
// Pure functions, any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "lib/base/dtype.h"
#include "lib/model/model_card.h"

namespace parkd {

// "xxh64:1f0c...:bf16": of every byte of the model's files (weights, tokenizer, template) and the
// type of activations and KV cache; of several files, of the hashes of each. Reads all of them:
// seconds for those that are not in memory yet. Tells files apart that differ by accident; no proof
// against an adversary.
std::string model_content_hash(const ModelCard& card, Dtype dtype);

// XXH64 of https://github.com/Cyan4973/xxHash, doc/xxhash_spec.md, seed 0.
uint64_t xxh64(std::span<const uint8_t> bytes);

}  // namespace parkd
