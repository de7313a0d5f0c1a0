// Kernels: the inner loops of all networks, one set per instruction set; every set gives the very same bits.
//
// All sets are instances of kernel_templates.hpp over a vector of 16 floats; generic.cpp has that vector as plain loops
// and so is the definition. Sums run in one order everywhere, products are fused only where std::fma stands, whole
// numbers are exact: results depend neither on the instruction set, nor on batch-mates, nor on chunking.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace seqgen {

constexpr int kSimdWidth = 16;           // rows of a block, floats of a vector
constexpr std::size_t kBlockBytes = 64;  // one block of weights: 16x1 float32, 16x2 bfloat16 or 16x4 int8
constexpr int kClasses = 256;
constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number, kept in the low bits

// A matrix of rows in groups of 16 that keeps only its blocks with a weight other than zero. Where those have too few
// rows for this, a group is four strips of 4 rows instead, and a block four blocks of 4 x 4, one of each strip.
struct Matrix {
    std::uint32_t groups = 0;
    const std::uint32_t* starts = nullptr;   // [groups + 1] first block of each group
    const std::uint16_t* columns = nullptr;  // [blocks] first column of each block; of strips [blocks][4]
    const std::uint8_t* weights = nullptr;  // [blocks][64], of strips [blocks][4 columns' bytes]; row by row in each 64
    const float* scale = nullptr;           // int8: [groups][16] value of one unit
    const std::int32_t* base = nullptr;     // int8: [groups][16] what the activations' zero points add up to
    const std::uint32_t* strips = nullptr;  // of strips: [groups][4] the first row of y of each; otherwise null
    std::uint32_t dense = 0;                // blocks of each group, where all have the same ones from column 0 on
};

// Groups of 16 rows, from `first` to before `last`.
struct Span {
    std::uint32_t first, last;
};

// Rows of activations, `stride` elements apart: one for each stream, or many of one stream.
template <typename T>
struct Rows {
    T* data;
    std::size_t stride;
};

// Gates of a recurrent layer: one half of its units, coarse or fine, of one stream. R h is that of the state before, of
// both halves.
//   g = from + weight * delta + scale * context + Σ_k known_k * input_k
//   r, u = σ(g_r + (R h)_r), σ(g_u + (R h)_u)
//   n = tanh(g_n + r * (R h)_n)                            h' = u * h + (1 - u) * n
// For `gates` all rows of r and u come multiplied by -1/ln 2, so that 2^x is the only function needed, for
// `gates_quick` by 1/0.6, so that a piece of its sigmoid is one unit; those of n by twice as much, since
// tanh(x) = 2 σ(2x) - 1.
struct Gates {
    const float* from;      // [3][units] conditioning of the frame before
    const float* delta;     // [3][units] from there to this frame's
    const float* input;     // [3 inputs][stride]: first the coarse byte before, then the fine one, then the coarse byte
    std::size_t stride;     // between the columns of `input`
    const float* products;  // [3][units] R h
    const float* before;    // [units] h
    float* after;           // [units] h'
    std::uint8_t* bytes;    // [units] of `gates_quick`: h' in 8 bits
    std::size_t units;      // a multiple of 16
    float weight;
    float known[3];
    int inputs;            // how many of `known` count: 2 for the coarse half, 3 for the fine one
    const float* context;  // [3][units] conditioning of the sample alone, or null
    float scale;
};

// Gated units of a dilated convolution, of one stream, padded to whole vectors.
//   x, s = from + weight * delta + Σ_k sizes_k * products_k      z = tanh(x) * σ(s)
// The rows come multiplied as those of Gates do, x as those of n.
struct Filter {
    const float* from;         // [2][units] conditioning of the frame before
    const float* delta;        // [2][units] from there to this frame's
    const float* products[8];  // [taps][2][units]
    const float* sizes;        // [taps]
    int taps;
    float weight;
    float* gated;         // [units] of `filter`: z
    std::uint8_t* bytes;  // [units] of `filter_quick`: z in 8 bits
    std::size_t units;    // a multiple of 16
};

// The distribution of a symbol of some classes, as an output layer leaves it: logit k is multiplier * y[k] + bias[k].
// Both arrays are padded to whole vectors; `bias` is kNoClass where there is no class.
struct Classes {
    const float *y, *bias;
    float multiplier;
    std::size_t count;
    float* scratch;  // [classes_scratch(count)]
};
constexpr float kNoClass = -1e30f;

// Floats of scratch for a draw among some classes: their masses, and above them the sums of each 16, each 256 ..
inline std::size_t classes_scratch(std::size_t count) {
    constexpr std::size_t kWidth = kSimdWidth, kTree = kWidth * kWidth;
    std::size_t sum = 0, width = (count + kWidth - 1) / kWidth * kWidth;
    for (; width > kWidth; width = (width + kTree - 1) / kTree * kWidth) sum += (width + kTree - 1) / kTree * kTree;
    return sum + kWidth;
}

// Layer normalisation of one vector over its `width` channels; arrays are padded to whole vectors with zeros, and y may
// be x.
//   y = max(gain * (x - mean) / sqrt(variance + epsilon) + bias, least)
// Sums run over vectors first, then over the lanes of one as a tree: halves, quarters, pairs.
struct LayerNorm {
    const float *x, *gain, *bias;
    std::size_t width;
    float epsilon, least;
    float* y;
};

// A matrix of which nothing is left out, its rows in groups of 16: of each group one vector of weights after the other, a
// column in float32 or two in bfloat16, the even one in the low half of each lane. Rows and columns beyond the matrix are 0;
// of pairs there are a multiple of 16 in each group.
struct Dense {
    const float* weights = nullptr;
    std::size_t groups = 0;
    std::size_t steps = 0;  // vectors of a group
};

// A float of the 16 upper bits, and the nearest of those, of two the even one.
inline float widened(std::uint16_t upper) {
    const std::uint32_t bits = static_cast<std::uint32_t>(upper) << 16;
    float made;
    std::memcpy(&made, &bits, sizeof made);
    return made;
}
inline std::uint16_t narrowed(float value) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return static_cast<std::uint16_t>((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
}

// One step of a gated recurrence for one row, gates in the order r, z, n:
//   r, z = σ(i_r + p_r), σ(i_z + p_z)      n = tanh(i_n + r p_n)      h' = n + z (h - n)
struct GruGates {
    const float *inputs, *products;  // [3][units] i and p = R h
    const float* before;             // [units] h
    float* after;                    // [units] h'
    float* kept;                     // [4][units] r, z, n, p_n; or null
    std::size_t units;
};
// Its gradients, from those of h' on.
struct GruGradients {
    const float* kept;    // as above
    const float* before;  // [units] h
    const float* grad;    // [units] of h', but for what later steps add to it
    float* carry;         // [units] in: what those add; out: what h' has of h directly
    float *inputs, *products;  // [3][units] of i and of p
    std::size_t units;
};

// A line of a sum, and what it is multiplied by.
struct Term {
    float coefficient;
    const float* line;
};
struct GradTerm {
    float coefficient;
    float* line;
};

// Gated units of a convolution at one position: x, s = given + product, z = tanh(x) σ(s). What is given is a vector or
// a sum of lines; arrays of `void` are float32, or bfloat16 where `half` is set, and the two of z are of the same numbers.
struct GatedUnits {
    const float* given;  // [2][units], or null: the sum of
    const Term* terms;   // [count]
    std::size_t count;
    const float* product;  // [2][units]
    void* kept;        // [2][units] tanh(x) and σ(s)
    void *z, *z_again;  // [units]; the latter may be null
    std::size_t units;
    bool half;
};
// Their gradients, those of x and s, from that of z, which is a sum of two.
struct GatedGradients {
    const void* kept;    // as above
    const void* grad;    // [units]
    const float* above;  // [units], or null
    void* inner;         // [2][units]
    float* given;        // [2][units] the same, or null: it is spread to
    const GradTerm* terms;  // [count]
    std::size_t count;
    std::size_t units;
    bool half;
};

// ln Σ e^x, as the highest x and what it lacks.
struct LogSum {
    float highest, rest;
};

struct Kernels {
    const char* name;
    // Activations in 8 bits are stored as q + 128 (true) or as two's complement q (false), q in -127 .. 127.
    bool unsigned_activations;

    // Some groups of y = W x, for `streams` rows of any number.
    void (*product_f32)(const Matrix&, Span groups, Rows<const float> x, Rows<float> y, int streams);
    void (*product_bf16)(const Matrix&, Span groups, Rows<const float> x, Rows<float> y, int streams);
    void (*product_i8)(const Matrix&, Span groups, Rows<const std::uint8_t> x, Rows<float> y, int streams);

    void (*gates)(const Gates&);        // σ and tanh within 2e-7
    void (*gates_quick)(const Gates&);  // within 2e-4, a twentieth of what 8 bits of state resolve

    // A state in 8 bits, as `gates_quick` writes it.
    void (*quantise_state)(const float* hidden, std::size_t count, std::uint8_t* bytes);

    // y = max(y + bias, 0).
    void (*rectify)(float* y, const float* bias, std::size_t count);
    // max(multiplier * y + bias, 0) in 8 bits, made * (q + 127); returns `made`, the largest number over 254.
    float (*rectify_and_quantise)(const float* y, const float* bias, float multiplier, std::size_t count,
                                  std::uint8_t* bytes);

    void (*filter)(const Filter&);        // as exact as `gates`
    void (*filter_quick)(const Filter&);  // as exact as `gates_quick`
    // sum += multiplier * y + bias.
    void (*accumulate)(float* sum, const float* y, float multiplier, const float* bias, std::size_t count);
    // x in 8 bits as a state divided by `made`; returns `made`, the largest |x|.
    float (*quantise_scaled)(const float* x, std::size_t count, std::uint8_t* bytes);

    // The class drawn by `uniform` from softmax(sharpness * (multiplier * y + bias)): the first whose cumulative sum
    // passes uniform * total. Each 16 classes are summed as a tree, their sums and then the 16 chosen ones cumulated.
    int (*draw)(const float* y, const float* bias, float multiplier, float sharpness, float uniform);
    // The same among any number of classes: the sums are a tree of as many levels as it takes.
    int (*draw_class)(const Classes&, float sharpness, float uniform);
    // Their logits; `logits` has no room beyond the last one.
    void (*write_logits)(const float* y, const float* bias, float multiplier, std::size_t count, float* logits);

    void (*layer_norm)(const LayerNorm&);
    // Multiplicative units, as exact as `gates`: y = g_1 tanh(g_2 h + g_3 u), g_i = σ(given_i), u = tanh(given_4), of
    // `given` [4][units] multiplied as the rows of Gates are, u as those of n. y may be h or before it.
    void (*multiply_units)(const float* given, const float* h, std::size_t units, float* y);

    // Training. y = W x for rows of x, of any number; bfloat16 sums may be rounded otherwise by each set.
    void (*dense_f32)(const Dense&, Rows<const float> x, Rows<float> y, std::size_t rows);
    void (*dense_bf16)(const Dense&, Rows<const std::uint16_t> x, Rows<float> y, std::size_t rows);
    void (*gru_forward)(const GruGates&);  // σ and tanh within 2e-7
    void (*gru_backward)(const GruGradients&);
    void (*gated_forward)(const GatedUnits&);  // as exact
    void (*gated_backward)(const GatedGradients&);
    void (*to_bf16)(const float* from, std::size_t count, std::uint16_t* to);
    void (*write_past_caches)(const void* from, std::size_t bytes, void* to);  // a copy that is not read again soon
    // sum = Σ coefficient · line, and the gradients of the lines: line += coefficient · grad.
    void (*sum_lines)(const Term* terms, std::size_t count, std::size_t size, float* sum);
    void (*spread_lines)(const GradTerm* terms, std::size_t count, std::size_t size, const float* grad);
    void (*from_bf16)(const std::uint16_t* from, std::size_t count, float* to);
    LogSum (*log_sum)(const float* x, std::size_t count);
    // to = -grad · e^x / Σ e^x; `to` may be x.
    void (*softmax_gradient)(const float* x, std::size_t count, LogSum sum, float grad, float* to);
};

// Each is null where the machine or the build lacks the instruction set.
const Kernels* generic_kernels();
const Kernels* avx2_kernels();
const Kernels* avx512_kernels();
const Kernels* avx512_bf16_kernels();
const Kernels* neon_kernels();
const Kernels* amx_kernels();

// The named set; where `name` is null that of the environment's SEQGEN_ISA, and without it the fastest here.
// Raises Failure(SEQGEN_UNSUPPORTED), with the names that are known, for any other.
const Kernels& choose_kernels(const char* name);

}  // namespace seqgen
