// Subscale generation: a stream as B interleaved lanes, each some steps behind the one before, made side by side. Here
// are its sizes, and the network by which a lane reads those before it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "bodies/body.hpp"
#include "bodies/lane_context.hpp"
#include "bodies/wavernn.hpp"

namespace seqgen {

// Kalchbrenner et al. 2018 (arXiv 1802.08435), section 4, as seqgen/generation/subscale/generator.py has it. Lane s
// holds the samples B i + s. In step t lane s makes its sample i = t - s lag, lag = horizon + 1, from what a network
// makes of the samples of the lanes before it up to lane step i + horizon. What is given out is D = (B - 1) lag lane
// steps behind.
class Subscale {
   public:
    // Where a stream is between two calls: the steps that it has taken, as far as they matter, and the places in the
    // rings of samples and of conditioning vectors that are written next.
    struct Place {
        std::uint32_t taken, step, frame, reserved;
        std::uint8_t bytes[SEQGEN_MAX_STREAMS][2];  // the newest of each lane
    };

    // Raises Failure for missing or unfitting options and tensors.
    Subscale(const BodySource& source, const WaveRnn& network);

    std::size_t lanes() const { return lanes_; }
    std::size_t horizon() const { return horizon_; }
    std::size_t lag() const { return horizon_ + 1; }
    std::size_t depth() const { return (lanes_ - 1) * lag(); }
    std::size_t ahead() const { return depth() * lanes_; }
    std::size_t settled() const;                    // steps after which a stream no longer is at its start
    std::size_t steps() const;                      // lane steps of the ring of samples
    std::size_t frames() const { return frames_; }  // frames of the ring of vectors
    std::size_t fill() const { return fill_; }      // vectors that wait so that whole lane steps go by
    float unit() const { return unit_; }
    const LaneContext& context() const { return *context_; }
    std::size_t bytes() const { return context_->bytes() + output_.bytes(); }

    // A conditioning vector in the network's layout, with the bias of what lanes read of each other.
    void arrange(const float* vector, float* made) const;

    // Conditioning of `rows` lanes by those before them, [6 half] each, divided by `scales`; `bytes` is scratch,
    // [B][channels].
    void condition(const float* residual, std::uint8_t* bytes, Rows<float> made, float* scales, int rows) const;

    // The parts of a state blob before the conditioning network's: Place, then float32 hidden states [B][2 half],
    // vectors [frames][6 half] and the lanes' contexts [B][carried]; and behind it: 16-bit samples [steps][B].
    BodyStateBytes state_bytes() const;
    // `vector`: of conditioning, before the first frame; `start`: the bytes before the first sample.
    void init(const BodyState& state, const float* vector, const std::uint32_t (&start)[2]) const;
    // Whether this can be the first part; `waits`: conditioning vectors are still to be dropped.
    bool fits(const unsigned char* before, bool waits) const;

   private:
    void read_sizes(const BodySource& source);
    void read_output(const Json& op, const Tensors& tensors, const std::string& where);

    const WaveRnn& network_;
    const Kernels& kernels_;
    seqgen_format format_;
    std::size_t lanes_ = 0, horizon_ = 0, frames_ = 0, fill_ = 0;
    float unit_ = 1;
    std::unique_ptr<LaneContext> context_;
    PackedMatrix output_;
    AlignedArray<float> bias_;
};

}  // namespace seqgen
