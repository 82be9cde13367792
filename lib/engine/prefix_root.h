// PrefixRoot: what the tokens of a KV block stand behind. Sequences share blocks only where their
// roots are equal. A value; the caller of the engine says who shares with whom.
#pragma once

#include <cstdint>

namespace parkd {

struct PrefixRoot {
  // Which adapter changes the model's K and V; 0 = none. Exact: another's blocks hold other
  // numbers.
  uint64_t adapter = 0;
  // A hash of those who may share. Two that collide share too: who can time requests could learn
  // that a prompt's beginning was there before; no output changes.
  uint64_t salt = 0;
  friend bool operator==(const PrefixRoot&, const PrefixRoot&) = default;
};

}  // namespace parkd
