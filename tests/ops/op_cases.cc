#include "tests/ops/op_cases.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <utility>

#include "lib/weights/formats.h"

namespace parkd::testing {
namespace {

std::string number(int64_t n) {
  return std::to_string(n);
}

std::string name_of(const Heads& h) {
  return "heads " + number(h.n_heads) + "/" + number(h.n_kv_heads) + " of " + number(h.head_dim) +
         ", blocks of " + number(h.block_size);
}

// The CPU's blocks are whole tiles of 32 tokens, its head_dim a multiple of 16; the device's heads
// are of five sizes, 16 of them at most share a kv head.
RefusedBy refused_heads(const Heads& h) {
  if (h.block_size % 32 != 0 || h.head_dim % 16 != 0) return RefusedBy::cpu;
  const bool device = (h.head_dim == 64 || h.head_dim == 80 || h.head_dim == 96 ||
                       h.head_dim == 128 || h.head_dim == 256) &&
                      h.group() <= 16;
  return device ? RefusedBy::none : RefusedBy::cuda;
}

// Rows of an odd width are no device's.
RefusedBy refused_columns(int32_t columns) {
  return columns % 8 == 0 ? RefusedBy::none : RefusedBy::cuda;
}

void add_rows(std::vector<OpCase>& cases) {
  for (const TensorFormat& format : kTensorFormats) {
    for (const int32_t columns : {8, 32, 64, 512, 576, 1032}) {
      if (columns % format.block_elements != 0) continue;
      OpCase c;
      c.op = Op::embed;
      c.name = std::string(format.name) + ", columns " + number(columns);
      c.weight = format.type;
      c.columns = columns;
      c.sequences = {{0, 1}, {5, 1}, {0, 7}};
      cases.push_back(c);
    }
  }
  for (const TensorType type : {TensorType::f32, TensorType::q8_0}) {
    OpCase c;
    c.op = Op::embed;
    c.name = std::string(format_of(type).name) + ", scaled by 25.3";
    c.weight = type;
    c.columns = 96;
    c.scale = 25.298221F;  // the root of 640: Gemma 3's
    c.sequences = {{0, 1}, {5, 1}, {0, 7}};
    cases.push_back(c);
  }
  for (const int32_t columns : {1, 15, 16, 17, 8, 64, 576, 577, 1024, 1032, 4096}) {
    OpCase c;
    c.op = Op::rms_norm;
    c.name = "columns " + number(columns);
    c.columns = columns;
    c.sequences = {{0, 1}, {0, 3}};
    c.refused_by = refused_columns(columns);
    cases.push_back(c);
    c.op = Op::rms_norm_add;
    cases.push_back(c);
  }
  for (const int32_t columns : {8, 504, 512, 520, 997, 1536}) {
    for (const Values values : {Values::normal, Values::far}) {
      for (const Activation activation : {Activation::silu, Activation::gelu_tanh}) {
        OpCase c;
        c.op = Op::gate_mul;
        c.name = std::string(activation == Activation::silu ? "silu" : "gelu_tanh") + ", columns " +
                 number(columns) + (values == Values::far ? ", far out" : "");
        c.columns = columns;
        c.sequences = {{0, 1}, {0, 3}};
        c.values = values;
        c.activation = activation;
        c.refused_by = refused_columns(columns);
        cases.push_back(c);
      }
    }
  }
  for (const int32_t columns : {8, 576, 1032}) {
    OpCase c;
    c.op = Op::gather_logit_rows;
    c.name = "columns " + number(columns);
    c.columns = columns;
    c.sequences = {{3, 1}, {0, 6}, {9, 1}, {2, 4}};
    cases.push_back(c);
  }
}

struct Product {
  int32_t m, n, k;
};

void add_products(std::vector<OpCase>& cases) {
  constexpr Product kBlocks[] = {
      {1, 1, 32}, {3, 17, 64}, {16, 16, 96}, {31, 33, 32}, {13, 49, 576}};
  constexpr Product kLongBlocks[] = {{1, 1, 256}, {3, 17, 512}, {31, 33, 256}, {13, 49, 768}};
  constexpr Product kAny[] = {{1, 1, 1}, {2, 5, 33}, {16, 48, 64}, {29, 31, 7}, {13, 49, 577}};
  const auto add = [&](Op op, const TensorFormat& format, const Product& p) {
    OpCase c;
    c.op = op;
    c.name =
        std::string(format.name) + ", M " + number(p.m) + " N " + number(p.n) + " K " + number(p.k);
    c.weight = format.type;
    c.columns = p.k;
    c.outputs = p.n;
    c.sequences = {{0, p.m}};
    c.refused_by = refused_columns(p.k);
    cases.push_back(c);
  };
  for (const TensorFormat& format : kTensorFormats) {
    const bool is_long = format.block_elements > 32;
    for (const Product& p : kBlocks) {
      if (!is_long) add(Op::matmul, format, p);
    }
    for (const Product& p : kLongBlocks) {
      if (is_long) add(Op::matmul, format, p);
    }
    for (const Product& p : kAny) {
      if (!format.is_quantised()) add(Op::matmul, format, p);
    }
    add(Op::matmul_add, format, {5, 49, is_long ? 256 : 64});
  }
}

void add_ropes(std::vector<OpCase>& cases) {
  for (const Heads& heads : {Heads{64, 9, 3, 32}, Heads{80, 1, 1, 8}, Heads{96, 6, 2, 24},
                             Heads{128, 16, 8, 16}, Heads{16, 3, 1, 32}, Heads{80, 3, 1, 32},
                             Heads{96, 3, 1, 32}, Heads{128, 3, 1, 32}, Heads{256, 3, 1, 32}}) {
    for (const bool norms : {false, true}) {
      for (const int way : {0, 1, 2}) {
        OpCase c;
        c.op = Op::rope_and_store;
        c.heads = heads;
        c.rotates = way < 2;
        c.layout = way == 0 ? RopeLayout::interleaved : RopeLayout::split_half;
        c.norms = norms;
        c.name = name_of(heads) +
                 (way == 0   ? ", interleaved"
                  : way == 1 ? ", split"
                             : ", no rope") +
                 (norms ? ", norms" : "");
        c.sequences = {{0, 1}, {heads.block_size - 1, 1}, {5, heads.block_size + 2}};
        c.refused_by = refused_heads(heads);
        cases.push_back(c);
      }
    }
  }
}

// As Phi-4-mini's heads are.
void add_ropes_in_part(std::vector<OpCase>& cases) {
  for (const Heads& heads : {Heads{128, 6, 2, 32}, Heads{80, 3, 1, 32}, Heads{16, 4, 2, 32}}) {
    for (const RopeLayout layout : {RopeLayout::interleaved, RopeLayout::split_half}) {
      OpCase c;
      c.op = Op::rope_and_store;
      c.heads = heads;
      c.rotates = c.rotates_in_part = true;
      c.layout = layout;
      c.norms = heads.head_dim == 80;
      c.name = name_of(heads) + (layout == RopeLayout::interleaved ? ", interleaved" : ", split") +
               " in part";
      c.sequences = {{0, 1}, {31, 1}, {5, 34}};
      c.refused_by = refused_heads(heads);
      cases.push_back(c);
    }
  }
}

// What is added before and multiplied after, with norms and without.
void add_biased_ropes(std::vector<OpCase>& cases) {
  for (const Heads& heads : {Heads{64, 6, 2, 32}, Heads{128, 4, 1, 32}}) {
    for (const bool norms : {false, true}) {
      OpCase c;
      c.op = Op::rope_and_store;
      c.heads = heads;
      c.rotates = true;
      c.layout = RopeLayout::split_half;
      c.norms = norms;
      c.sequences = {{0, 1}, {3, 1}, {4, 1}, {30, 9}};
      for (const int way : {1, 2, 3}) {
        c.biases = way % 2 == 1;
        c.query_scale = way >= 2 ? QueryScale{0.1F, 4} : QueryScale{};
        c.name = name_of(heads) + (norms ? ", norms" : "") + (c.biases ? ", biases" : "") +
                 (way >= 2 ? ", scaled" : "");
        cases.push_back(c);
      }
    }
  }
}

OpCase attention(std::string name, const Heads& heads, std::vector<SequenceCase> sequences) {
  OpCase c;
  c.op = Op::attention;
  c.name = std::move(name) + ", " + name_of(heads);
  c.heads = heads;
  c.sequences = std::move(sequences);
  c.refused_by = refused_heads(heads);
  return c;
}

void add_attentions(std::vector<OpCase>& cases) {
  // Lengths: context + 1. Edges of runs of 8, of tiles of 32, of blocks, of splits.
  for (const Heads& heads :
       {Heads{64, 9, 3, 32}, Heads{64, 8, 8, 8}, Heads{80, 2, 1, 16}, Heads{96, 12, 3, 24},
        Heads{128, 5, 1, 32}, Heads{128, 14, 2, 64}, Heads{256, 4, 1, 32}}) {
    std::vector<SequenceCase> sequences;
    for (const int32_t context : {0, 6, 7, 8, 31, 32, 127, 128, 129, 300}) {
      sequences.push_back({context, 1});
    }
    cases.push_back(attention("decode", heads, sequences));
  }
  // Chunks around a tile's tokens (of 32 rows, of 64 on tensor cores) and KV's 32 and 64, from the
  // start and from a context.
  for (const Heads& heads : {Heads{64, 9, 3, 32}, Heads{64, 8, 8, 8}, Heads{80, 2, 1, 16},
                             Heads{80, 1, 1, 8}, Heads{96, 6, 1, 24}, Heads{128, 14, 2, 64}}) {
    const int32_t tokens = 32 / heads.group();
    cases.push_back(attention("prefill", heads,
                              {{0, 2},
                               {9, 1},
                               {0, tokens - 1},
                               {0, tokens},
                               {31, tokens + 1},
                               {32, 2 * tokens},
                               {33, 2 * tokens + 1},
                               {62, 2 * tokens},
                               {130, 33}}));
  }
  // Gemma 3's heads, of which a device takes K and V in parts.
  cases.push_back(attention("prefill", {256, 4, 2, 32}, {{0, 15}, {9, 1}, {31, 17}, {33, 16}}));
  // Whole prompts of the CPU's shapes: every width of a head, up to 64 query heads a kv head.
  for (const auto& [heads, n_tokens] :
       std::vector<std::pair<Heads, int32_t>>{{{64, 3, 1, 32}, 1},
                                              {{64, 3, 1, 32}, 33},
                                              {{80, 4, 1, 64}, 70},
                                              {{96, 1, 1, 256}, 300},
                                              {{128, 4, 1, 96}, 97},
                                              {{16, 1, 1, 32}, 64},
                                              {{256, 7, 1, 32}, 65},
                                              {{64, 64, 1, 32}, 40}}) {
    cases.push_back(attention("prompt of " + number(n_tokens), heads, {{0, n_tokens}}));
  }
  for (const int32_t group : {1, 2, 3, 4, 5, 6, 7, 8, 9, 16}) {
    const Heads heads = {group % 2 == 0 ? 64 : 128, group * 2, 2, 32};
    cases.push_back(
        attention("beside each other", heads, {{40, 1}, {0, 35}, {150, 1}, {20, 3}, {17, 1}}));
    cases.back().every_dtype = false;
  }
  for (const int32_t group : {1, 2, 5, 16}) {
    cases.push_back(
        attention("beside each other", {256, group, 1, 32}, {{40, 1}, {0, 7}, {20, 3}, {17, 1}}));
    cases.back().every_dtype = group == 5;
  }
  // More sequences than the lanes of a warp.
  cases.push_back(
      attention("many", {64, 8, 2, 32}, std::vector<SequenceCase>(40, SequenceCase{3, 2})));
  cases.back().every_dtype = false;
  cases.push_back(
      attention("long", {64, 3, 1, 32}, {{383, 1}, {384, 1}, {391, 1}, {700, 1}, {1100, 1}}));
  cases.back().every_dtype = false;
  cases.push_back(attention("scores far apart", {64, 1, 1, 32}, {{0, 70}, {69, 1}}));
  cases.back().values = Values::far;
  // Windows of one token, of a tile and about it, over blocks' edges, and longer than all.
  for (const int32_t window : {1, 7, 31, 32, 33, 64, 100, 1000}) {
    cases.push_back(
        attention("window of " + number(window), {64, 4, 2, 32},
                  {{0, 1}, {6, 1}, {31, 1}, {32, 1}, {300, 1}, {0, 70}, {33, 40}, {130, 33}}));
    cases.back().window = window;
    cases.back().every_dtype = window == 33;
    cases.push_back(
        attention("window of " + number(window), {128, 7, 1, 64}, {{200, 1}, {65, 40}}));
    cases.back().window = window;
    cases.back().every_dtype = false;
  }
  cases.push_back(
      attention("window of 33", {256, 4, 1, 32}, {{31, 1}, {33, 1}, {150, 1}, {0, 40}, {60, 9}}));
  cases.back().window = 33;
  // More runs in the window than a split has.
  cases.push_back(
      attention("window of 500", {64, 3, 1, 32}, {{700, 1}, {1100, 1}, {499, 1}, {600, 20}}));
  cases.back().window = 500;
  cases.back().every_dtype = false;
  cases.push_back(attention("biases and scaled queries", {64, 4, 2, 32}, {{0, 40}, {33, 1}}));
  cases.back().biases = cases.back().rotates = true;
  cases.back().query_scale = {0.1F, 4};
  // K as the layer's rotation and norm make it.
  for (const RopeLayout layout : {RopeLayout::interleaved, RopeLayout::split_half}) {
    const bool norms = layout == RopeLayout::split_half;
    cases.push_back(attention(norms ? "rotated in part and normed" : "rotated", {64, 4, 2, 32},
                              {{0, 40}, {33, 1}, {7, 3}}));
    cases.back().rotates = true;
    cases.back().rotates_in_part = norms;
    cases.back().norms = norms;
    cases.back().layout = layout;
  }
}

}  // namespace

int32_t OpCase::n_rows() const {
  int32_t n = 0;
  for (const SequenceCase& sequence : sequences) n += sequence.rows;
  return n;
}

Rope OpCase::rope() const {
  Rope rope;
  rope.layout = layout;
  rope.amplitude = rotates_in_part ? 1.19F : 1;
  const int32_t n_pairs = heads.head_dim / 2;
  const int32_t n_turned = rotates_in_part ? n_pairs * 3 / 4 : n_pairs;
  const double base = layout == RopeLayout::interleaved ? 1e4 : 1e6;
  for (int32_t i = 0; i < n_pairs; ++i) {
    rope.inv_freq.push_back(
        i < n_turned ? static_cast<float>(std::pow(base, -double{1} * i / n_turned)) : 0);
  }
  return rope;
}

const std::vector<OpCase>& op_cases() {
  static const std::vector<OpCase> cases = [] {
    std::vector<OpCase> list;
    add_rows(list);
    add_products(list);
    add_ropes(list);
    add_ropes_in_part(list);
    add_biased_ropes(list);
    add_attentions(list);
    return list;
  }();
  return cases;
}

std::vector<OpCase> op_cases(Op op) {
  std::vector<OpCase> cases;
  std::copy_if(op_cases().begin(), op_cases().end(), std::back_inserter(cases),
               [op](const OpCase& c) { return c.op == op; });
  return cases;
}

std::vector<OpCase> measured_op_cases(const MeasuredModel& model) {
  constexpr int32_t kContext = 1023;  // tokens before the new one
  // Ops on rows are cheap to emulate; attention does fewer sequences.
  const std::vector<SequenceCase> decoding(8, SequenceCase{kContext, 1});
  std::vector<OpCase> cases;
  const auto add = [&](Op op, const char* name, int32_t columns) -> OpCase& {
    OpCase& c = cases.emplace_back();
    c.op = op;
    c.name = name;
    c.columns = columns;
    c.heads = model.heads;
    c.layout = RopeLayout::split_half;
    c.sequences = decoding;
    return c;
  };
  add(Op::embed, "embed", model.hidden);
  add(Op::gather_logit_rows, "gather_rows", model.hidden);
  add(Op::rms_norm, "rms_norm", model.hidden);
  add(Op::rms_norm_add, "rms_norm_add", model.hidden);
  add(Op::gate_mul, "gate_mul", model.ffn);
  add(Op::gate_mul, "gate_mul, gelu_tanh", model.ffn).activation = Activation::gelu_tanh;
  add(Op::rope_and_store, "rope_and_store", model.hidden).rotates = true;
  OpCase& with_norms = add(Op::rope_and_store, "rope_and_store, with norms", model.hidden);
  with_norms.rotates = with_norms.norms = true;
  OpCase& with_biases = add(Op::rope_and_store, "rope_and_store, with biases", model.hidden);
  with_biases.rotates = with_biases.biases = true;
  with_biases.query_scale = {0.1F, 256};
  const int32_t q = model.heads.n_heads * model.heads.head_dim;
  add(Op::matmul, "qkv", model.hidden).outputs = model.heads.columns();
  add(Op::matmul_add, "attention_out", q).outputs = model.hidden;
  add(Op::matmul, "gate_up", model.hidden).outputs = 2 * model.ffn;
  add(Op::matmul_add, "ffn_down", model.ffn).outputs = model.hidden;
  add(Op::matmul, "head", model.hidden).outputs = model.vocab;
  add(Op::attention, "attention_decode", q).sequences = {{kContext, 1}, {kContext, 1}};
  OpCase& windowed = add(Op::attention, "attention_decode, window of 256", q);
  windowed.sequences = {{kContext, 1}, {kContext, 1}};
  windowed.window = 256;
  add(Op::attention, "attention_prefill", q).sequences = {{192, 64}};
  return cases;
}

}  // namespace parkd::testing
