// The WaveRNN cell: weights and one sample of it, for streams side by side.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

#include "bodies/body.hpp"
#include "kernels/pack.hpp"
#include "program/json.hpp"
#include "program/tensors.hpp"

namespace seqgen {

// What the gates of one stream's sample are told, see Gates in kernels.hpp: rows of [6 half].
struct GateConditioning {
    const float *from, *delta;
    float weight;
    const float* context;  // null where there is none
    float scale;
};

// Floats and bytes of one stream in a call's workspace; arrays of a field lie stream after stream.
struct WaveRnnBuffers {
    float* hidden[2];           // [2 half] the coarse half, then the fine one, each padded to whole vectors; see `now`
    float* products;            // [6 half] R h
    float* inner;               // [half]
    float* logits;              // [256]
    std::uint8_t* bytes[2];     // [2 half] the state in 8 bits
    std::uint8_t* inner_bytes;  // [half]
    float multiplier[SEQGEN_MAX_STREAMS];
    GateConditioning told[SEQGEN_MAX_STREAMS];
    int now;  // which of two buffers holds the state before the sample; the other one takes that after it
    int streams;
};

// Kalchbrenner et al. 2018 (arXiv 1802.08435), section 2, as seqgen/models/wavernn.py has it: gate rows (r, u, n) of
// the coarse half, then of the fine one; conditioning is added to every gate. The program says how the three inputs
// come from the bytes: x = A [c_{t-1}, f_{t-1}, c_t, 1], where only the third may depend on c_t.
class WaveRnn final : public Body {
   public:
    WaveRnn() = default;

    // Raises Failure for missing or unfitting tensors.
    WaveRnn(const Json& op, const Tensors& tensors, seqgen_format format, const Kernels& kernels,
         const std::string& where);

    std::size_t half() const { return half_; }    // units of one half, padded to whole vectors
    std::size_t units() const { return units_; }  // units of one half
    std::size_t gates() const { return 6 * half_; }
    std::size_t given() const override { return gates(); }
    std::size_t blocks() const override;
    std::size_t bytes() const override;
    std::size_t state_bytes() const override { return 2 * half_ * sizeof(float); }
    void init(unsigned char* state) const override { std::memset(state, 0, state_bytes()); }
    bool fits(const unsigned char*) const override { return true; }

    // Points the arrays to what `take(bytes of one stream)` gives for each of them.
    template <typename Take>
    void reserve(WaveRnnBuffers& lanes, Take&& take) const;

    // Weights [6 units, width] as a matrix whose rows are in the cell's own layout and units.
    MatrixSource arranged(const float* weights, std::size_t width) const;

    // A conditioning vector [6 units] of the network in the cell's own layout and units, [6 half].
    void arrange(const float* vector, float* made) const override;

    // The state in 8 bits, from the state.
    void refresh(WaveRnnBuffers& lanes) const;

    // R h of all streams: some groups of 16 rows, those of the coarse half before those of the fine one.
    void multiply(const WaveRnnBuffers& lanes, Span groups) const;
    Span all() const;

    // The groups of a half that the caller works on, or its helper.
    Span share(int which, bool helper) const;

    // The inputs of a sample from its bytes; the third means nothing before c_t is known.
    void inputs(int coarse_before, int fine_before, int coarse, float (&known)[3]) const;

    // Gates of half `which` (0: coarse, 1: fine) from its rows of R h, and its logits' products; `known` are the
    // streams' inputs.
    void advance(WaveRnnBuffers& lanes, int which, const float (*known)[3]) const;

    // The class that `uniform` draws, or all logits in the order of classes.
    int draw(const WaveRnnBuffers& lanes, int which, int stream, float sharpness, float uniform) const;
    void score(const WaveRnnBuffers& lanes, int which, int stream, float* logits) const;

   private:
    struct Head {
        PackedMatrix inner, outer;
        AlignedArray<float> inner_bias, outer_bias;
    };
    Head head(const Json& described, const Tensors& tensors, const std::string& where) const;
    void read_inputs(const Json& rows, const std::string& where);
    MatrixSource layout(const float* weights) const;
    void apply(const PackedMatrix& matrix, Span groups, Rows<const float> x, Rows<const std::uint8_t> bytes, Rows<float> y,
               int streams) const;
    void gate(WaveRnnBuffers& lanes, int which, const float (*known)[3]) const;
    void split();

    const Kernels* kernels_ = nullptr;
    seqgen_format format_ = SEQGEN_FORMAT_FLOAT32;
    std::size_t units_ = 0, half_ = 0;
    PackedMatrix recurrent_;
    AlignedArray<float> input_;     // [3][6 half]
    float affine_[3][4] = {};  // A
    Head heads_[2];
    std::uint32_t own_[2] = {};  // groups of a half's rows that stay with the caller
};

template <typename Take>
void WaveRnn::reserve(WaveRnnBuffers& lanes, Take&& take) const {
    const auto floats = [&](std::size_t count) { return static_cast<float*>(take(count * sizeof(float))); };
    const auto bytes = [&](std::size_t count) { return static_cast<std::uint8_t*>(take(count)); };
    for (float*& hidden : lanes.hidden) hidden = floats(2 * half_);
    for (std::uint8_t*& own : lanes.bytes) own = bytes(2 * half_);
    lanes.products = floats(gates());
    lanes.inner = floats(half_);
    lanes.inner_bytes = bytes(half_);
    lanes.logits = floats(kClasses);
}

}  // namespace seqgen
