// Whatever the bytes of a tokenizer.json are: a vocabulary or a refusal, and what is made of a
// vocabulary encodes and decodes.
#include "tests/fuzz/vocabulary_fuzz.h"

#include "lib/text/vocabulary_readers.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return parkd::testing::try_vocabulary(
      parkd::read_tokenizer_json("fuzz", {reinterpret_cast<const char*>(data), size}));
}
