#include "lib/text/split_rules.h"

#include <array>

namespace parkd {

#define PARKD_END "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define PARKD_CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define PARKD_UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define PARKD_LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define PARKD_NO_WORD "[^\\r\\n\\p{L}\\p{N}]?"

namespace {

using View = std::string_view;

constexpr std::array<View, 1> kGpt2 = {
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"};
// meta-llama/llama3, llama/tokenizer.py.
constexpr std::array<View, 1> kLlama3 = {
    PARKD_CONTRACTIONS "|" PARKD_NO_WORD
                       "\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" PARKD_END};
// Qwen2 and Qwen3, tokenizer.json.
constexpr std::array<View, 1> kQwen2 = {PARKD_CONTRACTIONS
                                        "|" PARKD_NO_WORD
                                        "\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" PARKD_END};
constexpr std::array<View, 1> kQwen35 = {
    PARKD_CONTRACTIONS "|" PARKD_NO_WORD
                       "[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" PARKD_END};
// mistral-common, tekken.json.
constexpr std::array<View, 1> kTekken = {
    PARKD_NO_WORD PARKD_UPPER "*" PARKD_LOWER "+|" PARKD_NO_WORD PARKD_UPPER "+" PARKD_LOWER
                              "*|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" PARKD_END};
// openai/tiktoken, o200k_base; Llama 4.
constexpr std::array<View, 1> kGpt4o = {
    PARKD_NO_WORD PARKD_UPPER "*" PARKD_LOWER "+" PARKD_CONTRACTIONS "?|" PARKD_NO_WORD PARKD_UPPER
                              "+" PARKD_LOWER "*" PARKD_CONTRACTIONS
                              "?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" PARKD_END};
// deepseek-ai/deepseek-llm-7b-base, tokenizer.json.
constexpr std::array<View, 6> kDeepseekLlm = {
    "[\\r\\n]",
    "\\s?["
    "A-Za-z\\u00b5\\u00c0-\\u00d6\\u00d8-\\u00f6\\u00f8-\\u01ba\\u01bc-\\u01bf"
    "\\u01c4-\\u0293\\u0295-\\u02af\\u0370-\\u0373\\u0376\\u0377\\u037b-\\u037d\\u037f"
    "\\u0386\\u0388-\\u038a\\u038c\\u038e-\\u03a1\\u03a3-\\u03f5\\u03f7-\\u0481"
    "\\u048a-\\u052f\\u0531-\\u0556\\u10a0-\\u10c5\\u13a0-\\u13f5\\u13f8-\\u13fd"
    "\\u1c90-\\u1cba\\u1cbd-\\u1cbf\\u1d00-\\u1d2b\\u1d6b-\\u1d77\\u1d79-\\u1d9a"
    "\\u1e00-\\u1f15\\u1f18-\\u1f1d\\u1f20-\\u1f45\\u1f48-\\u1f4d\\u1f50-\\u1f57\\u1f59"
    "\\u1f5b\\u1f5d\\u1f5f-\\u1f7d\\u1f80-\\u1fb4\\u1fb6-\\u1fbc\\u1fbe\\u1fc2-\\u1fc4"
    "\\u1fc6-\\u1fcc\\u1fd0-\\u1fd3\\u1fd6-\\u1fdb\\u1fe0-\\u1fec\\u1ff2-\\u1ff4"
    "\\u1ff6-\\u1ffc\\u2102\\u2107\\u210a-\\u2113\\u2115\\u2119-\\u211d\\u2124\\u2126"
    "\\u2128\\u212a-\\u212d\\u212f-\\u2134\\u2139\\u213c-\\u213f\\u2145-\\u2149\\u214e"
    "\\u2183\\u2184\\u2c00-\\u2c7b\\u2c7e-\\u2ce4\\u2ceb-\\u2cee\\u2cf2\\u2cf3"
    "\\ua640-\\ua66d\\ua680-\\ua69b\\ua722-\\ua76f\\ua771-\\ua787\\ua78b-\\ua78e"
    "\\uab70-\\uabbf\\ufb00-\\ufb06\\ufb13-\\ufb17\\uff21-\\uff3a\\uff41-\\uff5a"
    "\U00010400-\U0001044f\U000104b0-\U000104d3\U000104d8-\U000104fb\U00010c80-\U00010cb2"
    "\U00010cc0-\U00010cf2\U000118a0-\U000118df\U0001e900-\U0001e943"
    "]+",
    "\\s?[!-/:-~\\uff01-\\uff0f\\uff1a-\\uff5e\\u2018-\\u201f\\u3000-\\u3002]+",
    "\\s+$",
    "[\\u4e00-\\u9fa5\\u0800-\\u4e00\\uac00-\\ud7ff]+",
    "\\p{N}+",
};
// deepseek-ai/deepseek-coder-1.3b-base, tokenizer.json.
constexpr std::array<View, 5> kDeepseekCoder = {
    "[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", "[\\u4e00-\\u9fa5\\u0800-\\u4e00\\uac00-\\ud7ff]+",
    "\\p{N}",
};
// deepseek-ai/DeepSeek-V3, tokenizer.json.
constexpr std::array<View, 3> kDeepseekV3 = {
    "\\p{N}{1,3}",
    "[\\u4e00-\\u9fa5\\u3040-\\u309f\\u30a0-\\u30ff]+",
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?"
    "[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|" PARKD_END,
};
// tiiuae/falcon-7b, tokenizer.json.
constexpr std::array<View, 3> kFalcon = {"[\\p{P}\\$\\+<=>\\^~\\|`]+", kGpt2[0], "[0-9][0-9][0-9]"};

constexpr std::array kRules = {
    SplitRule{"smollm", true, kGpt2, false},
    SplitRule{"gpt-2", false, kGpt2, false},
    SplitRule{"gpt2", false, kGpt2, false},
    SplitRule{"llama-bpe", false, kLlama3, true},
    SplitRule{"llama3", false, kLlama3, true},
    SplitRule{"llama-v3", false, kLlama3, true},
    SplitRule{"falcon3", false, kLlama3, true},
    SplitRule{"pixtral", false, kLlama3, true},
    SplitRule{"lfm2", false, kLlama3, true},
    SplitRule{"qwen2", false, kQwen2, false},
    SplitRule{"deepseek-r1-qwen", false, kQwen2, false},
    SplitRule{"stablelm2", false, kQwen2, false},
    SplitRule{"qwen35", false, kQwen35, false},
    SplitRule{"tekken", false, kTekken, true},
    SplitRule{"gpt-4o", false, kGpt4o, false},
    SplitRule{"llama4", false, kGpt4o, false},
    SplitRule{"deepseek-llm", false, kDeepseekLlm, false},
    SplitRule{"deepseek-coder", false, kDeepseekCoder, false},
    SplitRule{"deepseek-v3", false, kDeepseekV3, false},
    SplitRule{"falcon", false, kFalcon, false},
    SplitRule{"phi-2", false, kGpt2, false},
    SplitRule{"mpt", false, kGpt2, false},
    SplitRule{"olmo", false, kGpt2, false},
    SplitRule{"starcoder", true, kGpt2, false},
    SplitRule{"refact", true, kGpt2, false},
    SplitRule{"command-r", true, kGpt2, false},
    SplitRule{"dbrx", false, kLlama3, false},
    SplitRule{"smaug-bpe", false, kLlama3, false},
    SplitRule{"chatglm-bpe", false, kLlama3, false},
    SplitRule{"glm4", false, kLlama3, false},
};

}  // namespace

std::string_view gpt2_split() {
  return kGpt2[0];
}

const SplitRule* find_split_rule(std::string_view name) {
  for (const SplitRule& rule : kRules) {
    if (rule.name == name) return &rule;
  }
  return nullptr;
}

std::span<const SplitRule> split_rules() {
  return kRules;
}

}  // namespace parkd
