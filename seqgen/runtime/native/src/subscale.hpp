// Subscale generation: a stream as B interleaved lanes, each some steps behind the one before, made side by side.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "cell.hpp"
#include "network.hpp"

namespace seqgen {

// Sizes of a model that its lanes depend on, in samples.
struct Timing {
    std::size_t hop, latency;
};

// Kalchbrenner et al. 2018 (arXiv 1802.08435), section 4, as seqgen/subscale.py has it. Lane s holds the samples
// B i + s. In step t lane s makes its sample i = t - s lag, lag = horizon + 1, and is told what a network makes of the
// samples of the lanes before it up to lane step i + horizon. What is given out is D = (B - 1) lag lane steps behind.
class Subscale {
   public:
    // Where a stream is between two calls: `begun` once lane 0 reads, `step` and `frame` the places in the rings of
    // samples and of conditioning vectors that are written next.
    struct Place {
        std::uint32_t begun, step, frame, reserved;
        std::uint8_t bytes[SEQGEN_MAX_STREAMS][2];  // the newest of each lane
    };

    // Raises Failure for missing or unfitting options and tensors.
    Subscale(const Json& op, const Tensors& tensors, const Cell& cell, const Timing& timing, seqgen_format format,
             const Kernels& kernels, const std::string& where);

    std::size_t lanes() const { return lanes_; }
    std::size_t horizon() const { return horizon_; }
    std::size_t lag() const { return horizon_ + 1; }
    std::size_t depth() const { return (lanes_ - 1) * lag(); }
    std::size_t ahead() const { return depth() * lanes_; }
    std::size_t steps() const { return depth() + 1; }      // lane steps of the ring of samples
    std::size_t frames() const { return frames_; }         // frames of the ring of vectors
    std::size_t fill() const { return fill_; }             // vectors that wait so that whole lane steps go by
    std::size_t entering() const { return 2 * lanes_ - 1; }  // numbers that a lane reads
    float unit() const { return unit_; }
    const Network& network() const { return network_; }
    std::size_t width() const { return leave_columns_; }  // of what the network makes, padded to whole vectors
    std::size_t bytes() const { return network_.bytes() + leave_.bytes(); }

    // The constant part of what every lane reads, [B][2 B - 1]: its one-hot.
    void hot(float* entering) const;

    // A conditioning vector in the cell's layout, with the bias of the context.
    void arrange(const float* vector, float* made) const;

    // What `rows` lanes are told, [6 half] each, from the network's scratch; `scales` are what it comes divided by.
    void tell(const float* scratch, std::uint8_t* bytes, Rows<float> told, float* scales, int rows) const;

    // The part of a state blob behind its header: Place, then float32 hidden states [B][2 half], vectors
    // [frames][6 half], the context network's states [B][..] and the conditioning network's, then 16-bit samples [D+1][B].
    std::size_t state_bytes(std::size_t conditioning) const;
    void init(unsigned char* state, const float* vector, const std::uint32_t (&start)[2], const float* conditioning,
              std::size_t count) const;
    // Whether this can be a stream's place; `waits`: conditioning vectors are still to be dropped.
    bool fits(const unsigned char* state, bool waits) const;

   private:
    void check(const Timing& timing, std::size_t look_ahead, const std::string& where);
    void load_network(const Json& op, const Tensors& tensors, const Kernels& kernels, const std::string& where);
    void load_leave(const Json& op, const Tensors& tensors, const std::string& where);

    const Cell& cell_;
    const Kernels& kernels_;
    seqgen_format format_;
    std::size_t lanes_ = 0, horizon_ = 0, frames_ = 0, fill_ = 0, leave_columns_ = 0;
    float unit_ = 1;
    Network network_;
    Network::Value value_{0, 0};
    Packed leave_;
    Aligned<float> bias_;
};

}  // namespace seqgen
