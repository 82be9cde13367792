// What a libpq connection string says in its own text, read without libpq: whether it is well
// formed, and whether a password stands in it, also one under a mistyped keyword. Private to
// lib/config. Pure.
//
// It must see every password that libpq would see (tests/config/dsn_test.cc compares them); seeing
// one where libpq sees none is harmless.
#pragma once

#include <string>
#include <string_view>

namespace parkd {

// Why this text may not stand in a configuration, as the end of the sentence "key 'postgres_url':
// ";
// "" when it may. Never repeats any of the text: it may be a password.
std::string dsn_refusal(std::string_view dsn);

}  // namespace parkd
