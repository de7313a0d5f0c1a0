// WaveRNN: its weights, and one sample of rows side by side: streams, or the lanes of one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "call/workspace.hpp"
#include "kernels/pack.hpp"
#include "layers/distribution.hpp"
#include "program/json.hpp"
#include "program/tensors.hpp"
#include "seqgen_engine.h"

namespace seqgen {

// Conditioning of the gates of one row's sample, see Gates in kernels.hpp: arrays of [6 half].
struct GateConditioning {
    const float *from, *delta;
    float weight;
    const float* context;  // null where there is none
    float scale;
};

// Activations of a call, in its workspace; arrays of a field lie row after row.
struct WaveRnnBuffers {
    float* hidden[2];           // [2 half] the coarse half, then the fine one, each padded to whole vectors; see `now`
    float* products;            // [6 half] R h
    float* inner;               // [half]
    float* logits;              // [256]
    std::uint8_t* bytes[2];     // [2 half] the state in 8 bits
    std::uint8_t* inner_bytes;  // [half]
    float multiplier[SEQGEN_MAX_STREAMS];
    GateConditioning conditioning[SEQGEN_MAX_STREAMS];
    float inputs[SEQGEN_MAX_STREAMS][3];  // of the recurrence
    int now = 0;  // which of two buffers holds the state before the sample; the other one takes that after it
    int rows = 0;
};

// Kalchbrenner et al. 2018 (arXiv 1802.08435), section 2, as seqgen/models/wavernn.py has it: gate rows (r, u, n) of
// the coarse half, then of the fine one; conditioning is added to every gate. The program says how the three inputs
// come from the bytes: x = A [c_{t-1}, f_{t-1}, c_t, 1], where only the third may depend on c_t.
class WaveRnn {
   public:
    // Raises Failure for missing or unfitting tensors.
    WaveRnn(const Json& op, const Tensors& tensors, seqgen_format format, const Kernels& kernels,
            const std::string& where);

    std::size_t half() const { return half_; }    // units of one half, padded to whole vectors
    std::size_t units() const { return units_; }  // units of one half
    std::size_t gates() const { return 6 * half_; }
    std::size_t blocks() const;
    std::size_t bytes() const;
    std::size_t state_bytes() const { return 2 * half_ * sizeof(float); }

    // Points `buffers` to arrays for so many rows.
    void reserve(WaveRnnBuffers& buffers, Workspace& memory, std::size_t rows) const;

    // Weights [6 units, width] as a matrix whose rows are in the network's own layout and units.
    MatrixSource arranged(const float* weights, std::size_t width) const;

    // A conditioning vector [6 units] in the network's own layout and units, [6 half].
    void arrange(const float* vector, float* made) const;

    // The state of a row in 8 bits, from the state.
    void refresh(WaveRnnBuffers& buffers, std::size_t row) const;

    // R h of all rows: some groups of 16 units, those of the coarse half before those of the fine one.
    void multiply(const WaveRnnBuffers& buffers, Span groups) const;
    Span all() const;

    // The groups of a half that the caller works on, or its helper.
    Span share(int half, bool helper) const;

    // The inputs of a row's sample from its bytes; the third means nothing before c_t is known.
    void set_inputs(WaveRnnBuffers& buffers, int row, int coarse_before, int fine_before, int coarse) const;

    // Gates of a half (0: coarse, 1: fine) from its rows of R h, and its logits' products.
    void advance(WaveRnnBuffers& buffers, int half) const;

    // The distribution of a row's byte.
    Logits logits(const WaveRnnBuffers& buffers, int half, int row) const {
        return {buffers.logits + static_cast<std::size_t>(row) * kClasses, heads_[half].outer_bias.data(),
                buffers.multiplier[row], kernels_};
    }

   private:
    struct Head {
        PackedMatrix inner, outer;
        AlignedArray<float> inner_bias, outer_bias;
    };
    Head head(const Json& described, const Tensors& tensors, const std::string& where) const;
    void read_inputs(const Json& rows, const std::string& where);
    MatrixSource layout(const float* weights) const;
    void apply(const PackedMatrix& matrix, Span groups, Rows<const float> x, Rows<const std::uint8_t> bytes,
               Rows<float> y, int rows) const;
    void gate(WaveRnnBuffers& buffers, int half) const;
    void split();

    const Kernels* kernels_ = nullptr;
    seqgen_format format_ = SEQGEN_FORMAT_FLOAT32;
    std::size_t units_ = 0, half_ = 0;
    PackedMatrix recurrent_;
    AlignedArray<float> input_;  // [3][6 half]
    float affine_[3][4] = {};    // A
    Head heads_[2];
    std::uint32_t own_[2] = {};  // groups of a half's rows that stay with the caller
};

}  // namespace seqgen
