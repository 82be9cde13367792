// Family: what one kind of decoder has of its own, as data: the names of its tensors, how its
// numbers are read, and what the ops of its layers are called with. The forward pass (model.h) is
// one for all families; none has code of its own there or in a kernel.
//
// A table that never changes, any thread. How one is added: DESIGN, "Families".
#pragma once

#include <array>
#include <span>
#include <string>
#include <string_view>

#include "lib/model/decoder_numbers.h"
#include "lib/model/model_tensors.h"
#include "lib/model/shape.h"

namespace parkd {

// Sizes that a tensor's rows and columns may have.
enum class Extent { one, hidden, ffn, q, kv, head_dim };

// Some rows of a tensor.
struct TensorPart {
  TensorView LayerTensors::*tensor = nullptr;  // where they go
  Extent rows = Extent::one;
};

struct LayerTensorRule {
  std::string_view gguf;             // behind "blk.N."
  std::string_view hub;              // behind the prefix of the directory's tensors and "layers.N."
  TensorView LayerTensors::*tensor;  // where it goes
  Extent rows;                       // one: a vector, which is never quantised
  Extent columns;
  std::array<TensorPart, 2> below = {};  // what the file's tensor has under these rows
};

struct Family {
  std::string_view name;  // and the model_type of config.json
  // general.architecture of GGUF files, and their keys' prefix; empty: they have another family's.
  std::string_view architecture;
  // Which pairs of a head its layers turn: GGUF's order of q and k, but for `gguf_in_halves`. A
  // directory has split halves always, and is put into this order when it is loaded, so that both
  // give the same bits.
  RopeLayout rope_layout;
  // All that a layer has: what it shares with other families, and what it has beside.
  std::array<std::span<const LayerTensorRule>, 3> layer_tensors;
  Activation activation = Activation::silu;
  bool scales_embedding = false;  // by the root of hidden, in float whatever the weights' type
  // A directory's norms are kept less this: transformers adds it, and so did GGUF's converter.
  float hub_norm_offset = 0;
  // Its GGUF files have split halves where its layers turn pairs beside each other: of a head that
  // turns in part, these are the same ones whatever the part.
  bool gguf_in_halves = false;
};

// Fills a shape but for `vocab`: sizes, ropes, and the plan of each layer.
void plan_layers(const Family& family, const DecoderNumbers& numbers, ModelShape& shape);

std::span<const Family> all_families();
// nullptr: none of that name.
const Family* find_family_of_gguf(std::string_view architecture);
const Family* find_family_of_hub(std::string_view model_type);
// "llama, mistral, ministral3, qwen2 ...", for those who name another.
std::string family_names();

}  // namespace parkd
