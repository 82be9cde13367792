// Family: what one kind of decoder has of its own, as data: the names of its tensors, how its
// numbers are read, and what the ops of its layers are called with. The forward pass (model.h) is
// one for all families; none has code of its own there or in a kernel.
//
// A table that never changes, any thread. How one is added: DESIGN, "Families".
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "lib/base/status.h"
#include "lib/model/model_tensors.h"
#include "lib/model/shape.h"

namespace parkd {

class ShapeReader;

// Sizes that a tensor's rows and columns may have.
enum class Extent { one, hidden, ffn, q, kv, head_dim };

struct LayerTensorRule {
  std::string_view name;             // in GGUF: "blk.N." + name + ".weight"
  TensorView LayerTensors::*tensor;  // where it goes
  Extent rows;                       // one: a vector, which is never quantised
  Extent columns;
};

struct Family {
  std::string_view architecture;  // general.architecture, and its keys' prefix
  // All that a layer has: what it shares with other families, and what it has beside.
  std::span<const LayerTensorRule> layer_tensors;
  std::span<const LayerTensorRule> more_layer_tensors;
  // Everything of the shape but `vocab`, with the plan of each layer. Errors: as load_model_card().
  Status (*read_shape)(ShapeReader& reader, ModelShape& shape);
};

std::span<const Family> all_families();
// nullptr: none of that name.
const Family* find_family(std::string_view architecture);
// "llama, qwen3", for those who name another.
std::string family_names();

}  // namespace parkd
