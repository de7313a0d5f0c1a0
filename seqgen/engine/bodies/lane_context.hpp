// Context of a lane: a network over the samples of the lanes before it.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "call/workspace.hpp"
#include "kernels/pack.hpp"
#include "program/json.hpp"
#include "program/tensors.hpp"

namespace seqgen {

// A linear convolution over lane steps of the samples before a lane, the nearest lane first and zero where there is
// none, and of the lane's one-hot; then residual blocks, as seqgen/generation/subscale/context.py has it:
//   x_k = b + Σ_t W_t [u_{k-(K-1-t)}, one-hot]      x_k += b'' + V relu(b' + Σ_t W'_t relu(x_{k-(K'-1-t) dilation}))
// Before its first step a lane has read nothing, not even its one-hot. The first convolution has float32 weights
// whatever the recurrent network's: a sample has 16 bits.
class LaneContext {
   public:
    // Arrays in a call's workspace, each lane after lane and zero at first.
    struct Arrays {
        float* entering;                  // windows of what the lanes read
        float* histories;                 // windows of what the blocks' convolutions read, block after block
        float *residual, *inner, *outer;  // [channels]
        float* line;                      // in 8 bits: what one lane's convolution reads, and the same of all lanes
        std::uint8_t* bytes;
        float scales[SEQGEN_MAX_STREAMS];
        std::size_t at;  // how far the windows have slid: they do, so that their rows need not move
    };

    // Raises Failure for missing or unfitting options and tensors.
    LaneContext(const Json& op, const Tensors& tensors, std::size_t lanes, seqgen_format format, const Kernels& kernels,
                const std::string& where);

    std::size_t width() const { return width_; }        // channels
    std::size_t channels() const { return channels_; }  // padded to whole vectors
    std::size_t taps() const { return taps_; }          // lane steps that the first convolution reads
    std::size_t bytes() const;
    std::size_t carried() const { return carried_; }  // floats of state of one lane

    void reserve(Arrays& arrays, Workspace& memory) const;

    void clear(Arrays& arrays) const;
    // The state of a lane, oldest first, block after block; behind `clear`, or before whatever comes next.
    void load(Arrays& arrays, std::size_t lane, const float* state) const;
    void save(const Arrays& arrays, std::size_t lane, float* state) const;

    // Where a lane's samples of the next step go, [B - 1]; `back` steps before it those that it has read.
    float* row(Arrays& arrays, std::size_t lane, std::size_t back) const;

    // One step of the first `rows` lanes, the s-th of which has read counts[s] steps before: `residual` is the outcome.
    void step(Arrays& arrays, const std::size_t* counts, int rows) const;

   private:
    struct Block {
        PackedMatrix conv, dense;
        AlignedArray<float> conv_bias, dense_bias;
        std::size_t taps = 1, dilation = 1, history = 0;            // and where its windows begin
        std::size_t left() const { return (taps - 1) * dilation; }  // lane steps that it remembers
    };

    void enter(const Json& op, const Tensors& tensors, const std::string& where);
    Block block(const Json& op, const Tensors& tensors, const std::string& where);
    std::size_t window() const { return (taps_ - 1 + kSlide) * (lanes_ - 1); }
    std::size_t window(const Block& block) const { return (block.left() + kSlide) * channels_; }
    void slide(Arrays& arrays) const;
    float* rectify(const Block& block, Arrays& arrays, int rows) const;
    void apply(const Block& block, Arrays& arrays, int rows) const;
    void apply_small(const Block& block, Arrays& arrays, int rows) const;

    static constexpr std::size_t kSlide = 8;  // steps between two moves of the windows

    const Kernels* kernels_;
    const bool small_;  // blocks in 8 bits
    std::size_t lanes_, width_ = 0, channels_ = 0, taps_ = 0, carried_ = 0, histories_ = 0, line_ = 0;
    PackedMatrix enter_;
    AlignedArray<float> hot_;  // [taps][B][channels] bias and one-hot of a lane that has read so many steps
    std::vector<Block> blocks_;
    AlignedArray<float> nothing_;  // [line_]
};

}  // namespace seqgen
