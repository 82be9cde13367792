// For tests that look at how much memory a process takes. Under AddressSanitizer that says nothing:
// it keeps what is freed, and pads the rest.
#pragma once

#include <gtest/gtest.h>

// For the start of a test: leaves it where that cannot be had.
#if defined(__SANITIZE_ADDRESS__)
#define PARKD_NEEDS_PLAIN_MEMORY() GTEST_SKIP() << "SKIPPED: memory cannot be told under ASan"
#else
#define PARKD_NEEDS_PLAIN_MEMORY() static_cast<void>(0)
#endif
