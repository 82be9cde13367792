// Any bytes are a model file or a refusal that names it; what is accepted can be read to the end,
// and a card made of it has a tokenizer that takes text.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "lib/model/model_card.h"
#include "lib/weights/gguf.h"

namespace {

// Every value through every getter, every tensor's first and last byte.
uint64_t read_all(const parkd::GgufFile& file) {
  uint64_t sum = 0;
  for (const std::string_view key : file.keys()) {
    if (const auto v = file.integer(key); v.ok()) sum += static_cast<uint64_t>(*v);
    if (const auto v = file.number(key); v.ok()) sum += *v > 0 ? 1 : 0;
    if (const auto v = file.boolean(key); v.ok()) sum += *v ? 1 : 0;
    if (const auto v = file.string(key); v.ok()) sum += v->size();
    if (const auto v = file.integers(key); v.ok()) sum += v->size();
    if (const auto v = file.strings(key); v.ok()) {
      for (const std::string_view text : *v) sum += text.empty() ? 0 : uint64_t(text.back());
    }
  }
  for (const parkd::TensorView& tensor : file.tensors()) {
    if (file.find_tensor(tensor.name) != &tensor) std::abort();
    sum += tensor.bytes.front() + tensor.bytes.back();
  }
  return sum;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto file = parkd::GgufFile::from_bytes("fuzz.gguf", {data, data + size});
  if (!file.ok()) {
    if (file.status().message().rfind("fuzz.gguf: ", 0) != 0) std::abort();
    return 0;
  }
  [[maybe_unused]] volatile uint64_t sum = read_all(**file);
  const auto card = parkd::make_model_card(*file);
  if (!card.ok()) {
    if (card.status().message().rfind("fuzz.gguf: ", 0) != 0) std::abort();
    return 0;
  }
  const parkd::ModelCard& model = **card;
  const std::vector<parkd::ChatMessage> messages = {{"user", "Hi 12 \n<|im_end|> ä"}};
  if (!model.chat_template) return 0;
  const auto prompt = model.chat_template->render(messages, {});
  if (!prompt.ok()) return 0;  // a template may refuse any messages
  const auto ids = model.tokenizer->encode_prompt(*prompt);
  if (!ids.ok()) std::abort();
  for (const parkd::TokenId id : *ids) {
    if (id < 0 || id >= model.shape.vocab) std::abort();
  }
  return 0;
}
