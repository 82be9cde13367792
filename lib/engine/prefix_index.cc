#include "lib/engine/prefix_index.h"

#include <algorithm>
#include <string_view>

#include "lib/base/check.h"
#include "lib/base/text.h"

namespace parkd {

PrefixIndex::PrefixIndex(int64_t n_blocks)
    : known_as_(static_cast<size_t>(n_blocks)), completes_(static_cast<size_t>(n_blocks), 0) {}

size_t PrefixIndex::Hash::operator()(const View& view) const {
  const std::string_view bytes(reinterpret_cast<const char*>(view.tokens.data()),
                               view.tokens.size_bytes());
  return fnv1a64(bytes) ^ ((view.prefix + view.root.adapter) * 0x9e3779b97f4a7c15ull) ^
         view.root.salt;
}

bool PrefixIndex::Equal::same(const View& a, const View& b) {
  return a.root == b.root && a.prefix == b.prefix &&
         std::equal(a.tokens.begin(), a.tokens.end(), b.tokens.begin(), b.tokens.end());
}

int32_t PrefixIndex::find(const PrefixRoot& root, PrefixId prefix,
                          std::span<const TokenId> tokens) const {
  const auto found = blocks_.find(View{root, prefix, tokens});
  return found == blocks_.end() ? kUnknown : found->second;
}

PrefixId PrefixIndex::add(const PrefixRoot& root, PrefixId prefix, std::span<const TokenId> tokens,
                          int32_t block) {
  const auto at = static_cast<size_t>(block);
  PARKD_CHECK(completes_[at] == 0, "a known block keeps its tokens until it is forgotten");
  if (const int32_t known = find(root, prefix, tokens); known != kUnknown) return prefix_of(known);
  known_as_[at] = blocks_.emplace(Key{root, prefix, {tokens.begin(), tokens.end()}}, block).first;
  completes_[at] = ++last_id_;
  return last_id_;
}

void PrefixIndex::forget(int32_t block) {
  const auto at = static_cast<size_t>(block);
  if (completes_[at] == 0) return;
  blocks_.erase(known_as_[at]);
  completes_[at] = 0;
}

}  // namespace parkd
