// ByteNet's residual blocks: what encoder and decoder have in common.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "call/workspace.hpp"
#include "kernels/pack.hpp"
#include "program/json.hpp"
#include "program/tensors.hpp"

namespace seqgen {

// Where tensors are read from, and how they are held.
struct ByteNetSource {
    const Tensors& tensors;
    seqgen_format format;
    const Kernels& kernels;
    std::string where;

    // Raises Failure(SEQGEN_FORMAT).
    void expect(bool right, const std::string& otherwise) const;
    const std::string& name(const Json& op, const char* key) const { return op.at(key, where).string(where); }
    // The matrix that a value of `op` names, of this shape; -1 stands for any size, and is filled in.
    std::vector<float> matrix(const Json& op, const char* key, std::vector<std::int64_t>& shape) const;
    AlignedArray<float> vector(const Json& op, const char* key, std::size_t count) const;
};

// Activations of a few rows on their way through blocks, in a call's workspace; arrays lie row after row.
struct ByteNetRows {
    static constexpr int kMost = 16;

    // What a product reads, [widest], and the same in 8 bits; and what it makes, [made].
    float *given, *made;
    std::uint8_t* bytes;
    float scales[kMost];  // what a unit of a row's 8 bits is worth
    std::size_t widest, height;

    void reserve(Workspace& memory, std::size_t rows, std::size_t widest, std::size_t height);
};

// Normalisation of a row's channels by their mean and deviation: see LayerNorm in kernels.hpp.
struct ByteNetNorm {
    AlignedArray<float> gain, bias;
    std::size_t width = 0;

    ByteNetNorm() = default;
    ByteNetNorm(const ByteNetSource& source, const Json& op, const char* gain, const char* bias, std::size_t width);
};

// A product with rows of activations, in 8 bits with a scale for each row: its largest number is 127, of rectified
// ones 254.
class ByteNetProduct {
   public:
    ByteNetProduct() = default;
    ByteNetProduct(const ByteNetSource& source, const MatrixSource& matrix, Activations activations);

    // rows.made = W rows.given / rows.scales
    void operator()(ByteNetRows& rows, int count) const;
    std::size_t blocks() const { return matrix_.blocks(); }
    std::size_t bytes() const { return matrix_.bytes(); }
    std::size_t width() const { return width_; }    // of what it reads, padded
    std::size_t height() const { return height_; }  // of what it makes, padded

   private:
    PackedMatrix matrix_;
    Activations activations_ = Activations::state;
    const Kernels* kernels_ = nullptr;
    std::size_t width_ = 0, height_ = 0;
    AlignedArray<float> zeros_;
};

// Residual blocks of dilated convolutions, seqgen/nets/residual_blocks.py: a stream of 2 d channels, convolutions of d.
//   rectified       enter = ReLU(LN(W_1 ReLU(LN x)))     leave = W_3 ReLU(LN(W_2 line)) + b
//   multiplicative  enter = W_1 LN(x)                    leave = W_3 g_1 tanh(g_2 h + g_3 u) + b
// with h the line's newest tap, g = σ(LN(W line)), u = tanh(LN(W' line)). The line has all taps of a position side by
// side, the oldest first. A normalised product needs no scale of its own: LN(s y) with epsilon is LN(y) with
// epsilon / s².
class ByteNetBlock {
   public:
    // Raises Failure for missing or unfitting options and tensors.
    ByteNetBlock(const ByteNetSource& source, const Json& op, std::size_t channels, std::size_t kernel, bool rectified,
                 float epsilon);

    std::size_t dilation() const { return dilation_; }
    std::size_t blocks() const;
    std::size_t bytes() const;
    std::size_t height() const { return taps_.height(); }

    // What the convolution reads of some rows of the stream: [2 d] to [d], both padded.
    void enter(Rows<const float> x, Rows<float> entered, ByteNetRows& rows, int count) const;
    // Adds what the block makes of the lines in rows.given to the stream.
    void leave(Rows<float> x, ByteNetRows& rows, int count) const;

   private:
    void normalise(const ByteNetNorm& norm, const float* x, float scale, float floor, float* y) const;
    void gate(ByteNetRows& rows, int count) const;

    const Kernels* kernels_;
    bool rectified_;
    float epsilon_;
    std::size_t channels_, kernel_, dilation_;
    ByteNetNorm input_, inner_, output_, gates_[4];
    ByteNetProduct narrow_, taps_, widen_;
    AlignedArray<float> widen_bias_;
};

// The blocks of a stack. Raises Failure for none, or more than 1024.
std::vector<ByteNetBlock> bytenet_blocks(const ByteNetSource& source, const Json& op, std::size_t channels);

// Taps of a stack's convolutions, at most 64.
std::size_t bytenet_kernel(const ByteNetSource& source, const Json& op);

// Embedded symbols, [classes][width] as they are in the file.
struct ByteNetEmbedding {
    std::vector<float> weights;
    std::size_t classes = 0, width = 0;

    ByteNetEmbedding() = default;
    // Raises Failure for more than 65,536 symbols, or an odd width.
    ByteNetEmbedding(const ByteNetSource& source, const Json& op);
    void read(std::size_t symbol, float* made) const;  // [width], padded with zeros
};

}  // namespace seqgen
