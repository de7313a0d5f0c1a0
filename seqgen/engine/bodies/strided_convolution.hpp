// Strided causal convolutions, seqgen/models/waveform_encoder.py.
#pragma once

#include <cstddef>
#include <cstdint>

#include "bodies/body.hpp"

namespace seqgen {

// Scratch of a convolution's outputs, in a call's workspace: products of some rows, and in 8 bits what they read.
struct ConvolutionRows {
    float *made, *scales;
    std::uint8_t* bytes;
};

// A convolution with a stride, an output for each S inputs, then layer normalisation where there is one, and ReLU:
//   y_t = ReLU(LN(b + Σ_k W_k x_{(t+1) S - K + k}))
// It reads a line: the K - S inputs before a block of whole strides, then the block. The taps of an output lie in one
// piece there, so that a product with rows S inputs apart is the convolution. In 8 bits each such piece has a scale of
// its own; the first convolution, of samples, keeps its float32 weights, which are few.
class StridedConvolution {
   public:
    // `width`: channels of an input; those of samples lie side by side, all others are padded to whole vectors.
    // Raises Failure for missing or unfitting options and tensors.
    StridedConvolution(const BodySource& source, const Json& op, std::size_t width, bool of_samples);

    std::size_t stride() const { return stride_; }
    std::size_t left() const { return kernel_ - stride_; }  // inputs before a block
    std::size_t width() const { return width_; }
    std::size_t pitch() const { return pitch_; }  // floats of an input in a line
    std::size_t channels() const { return channels_; }
    std::size_t blocks() const { return matrix_.blocks(); }
    std::size_t bytes() const { return matrix_.bytes(); }

    // Room for a line of so many inputs behind those before them; and for the rows of so many outputs.
    float* line(Workspace& memory, std::size_t inputs) const;
    ConvolutionRows rows(Workspace& memory, std::size_t outputs) const;

    // Outputs [padded channels] of a line, one behind the other.
    void operator()(const float* line, float* outputs, const ConvolutionRows& rows, std::size_t count) const;
    // Moves the end of a line of so many inputs to its beginning.
    void keep(float* line, std::size_t inputs) const;

   private:
    MatrixSource taps(const float* weights) const;
    void multiply(const float* line, const ConvolutionRows& rows, int count) const;

    const Kernels* kernels_;
    std::size_t stride_, kernel_ = 0, width_, pitch_, channels_ = 0, span_ = 1;
    bool normalised_;
    float epsilon_ = 0;
    PackedMatrix matrix_;
    AlignedArray<float> bias_, gain_, norm_bias_, zeros_;
};

}  // namespace seqgen
