// For tests of what only root can arrange: another user, a mount.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <string_view>

// For the start of a test: leaves it where that cannot be had. CI must have it.
#define PARKD_NEEDS_ROOT()                                               \
  do {                                                                   \
    if (::geteuid() != 0) {                                              \
      const char* strict = std::getenv("PARKD_CI_STRICT");               \
      ASSERT_FALSE(strict != nullptr && std::string_view(strict) == "1") \
          << "CI must run this as root";                                 \
      GTEST_SKIP() << "SKIPPED: needs root; nothing tested";             \
    }                                                                    \
  } while (false)
