// Hooks through which the scheduler tells the race detector and the traffic counter what happens
// (race.cc). The plain and ASan builds link no_race.cc, where they do nothing.
#pragma once

#include <cstddef>

namespace cuda_emulator::race {

void watch(const char* arena, size_t bytes);         // this OS thread's shared memory
void allow(const char* array, size_t bytes);         // of this block, inside the watched memory
void start_launch();                                 // this OS thread runs a grid from here on
void end_launch();                                   // to here, if nothing failed
void start_block();                                  // nothing before it is seen by it
void switch_to(unsigned thread);                     // this thread of the block runs now
void block_barrier();                                // orders all before all after
void warp_fence(unsigned warp, unsigned lane_mask);  // orders these lanes
void converge(unsigned warp);                        // its lanes are at one place

}  // namespace cuda_emulator::race
