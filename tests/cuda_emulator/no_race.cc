#include "cuda_emulator/atomics.h"
#include "race.h"

namespace cuda_emulator {

void note_atomic(const void* /*address*/, size_t /*bytes*/) {}

namespace race {

void watch(const char* /*arena*/, size_t /*bytes*/) {}
void allow(const char* /*array*/, size_t /*bytes*/) {}
void start_block() {}
void switch_to(unsigned /*thread*/) {}
void block_barrier() {}
void warp_fence(unsigned /*warp*/, unsigned /*lane_mask*/) {}

}  // namespace race
}  // namespace cuda_emulator
