// What gpu_probe measures of a device: each prints its figures. `tiny`: the least that shows that
// all of it runs, for the emulator. They throw where the device or a library fails.
#pragma once

#include "tests/gpu/probe/figures.h"

namespace parkd::probe {

// Bandwidth of device memory (read and written) and of pinned host memory both ways.
void probe_copies(const Figures& figures, bool tiny);
// From the end of a small kernel to the start of the next, inside a graph and launched one by one.
void probe_launches(const Figures& figures, bool tiny);
// cuBLAS as lib/backend/cuda calls it, at the matrices of Mistral-7B's layers and some numbers of
// rows.
void probe_products(const Figures& figures, bool tiny);
// Attention at Mistral-7B's heads: prefill by both kernels, decode.
void probe_attention(const Figures& figures, bool tiny);
// A token of each row of logits, and log-probabilities, at 32k and 131k tokens of vocabulary.
void probe_sampling(const Figures& figures, bool tiny);

}  // namespace parkd::probe
