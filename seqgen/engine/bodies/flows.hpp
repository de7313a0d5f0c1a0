// The student of Parallel WaveNet: logistic noise goes through flows, each with a WaveNet stack of its own.
//   x^0 = z,   x^i_t = x^{i-1}_t s^i_t + μ^i_t,   (μ^i_t, r^i_t) = stack_i(x^{i-1}_<t),   s = floor + ln(1 + e^{r + shift})
// As seqgen/models/parallel_wavenet.py and seqgen/flows/affine.py have it. Nothing that is made is read again, so a
// pass takes many samples that follow each other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bodies/body.hpp"
#include "bodies/wavenet.hpp"
#include "layers/distribution.hpp"
#include "program/json.hpp"
#include "program/tensors.hpp"

namespace seqgen {

// Some samples of one stream on their way: x = noise * scale + mean.
struct FlowBlock {
    static constexpr int kMost = 64;  // enough rows for the weights of a layer to be worth reading
    unsigned char* state;             // the stream's, of all flows
    const float *from, *delta;        // its conditioning, see WaveNetBuffers
    const float* weights;             // [times]
    int times;
    int stream;
    std::int64_t index;  // of its first sample in the call
    float noise[kMost], mean[kMost], scale[kMost];
};

class Flows final : public Body {
   public:
    // Raises Failure for missing or unfitting tensors.
    Flows(const Json& op, const Tensors& tensors, seqgen_format format, const Kernels& kernels,
          std::optional<LogGain> level, const std::string& where);

    // The noise's op: how near to 0 and 1 uniform numbers may come.
    void read_noise(const Json& op, const std::string& where);

    std::size_t vector() const;  // numbers of the network's conditioning vector
    std::size_t given() const override;
    void arrange(const float* vector, float* made) const override;
    std::size_t blocks() const override;
    std::size_t bytes() const override;
    std::size_t state_bytes() const override;
    void init(unsigned char* state) const override;
    bool fits(const unsigned char* state) const override;

    bool divisible() const { return flows_.size() > 1; }
    std::size_t scratch() const { return scratch_; }

    // Standard logistic noise, ln u - ln(1 - u).
    float noise(float uniform) const;

    // The first flows (part 0) or the rest (part 1), which have about as many layers, in `scratch` bytes of memory.
    // Before part 0 the block has noise alone.
    void run(int part, unsigned char* scratch, FlowBlock& block) const;

   private:
    struct Flow {
        WaveNet stack;
        double shift, floor;
        std::size_t first;  // of its part of a conditioning vector
        std::size_t state;  // where its state begins: the stack's, then the newest input, which no sample has read
    };
    void divide();
    void pass(const Flow& flow, unsigned char* scratch, FlowBlock& block) const;
    void louder(FlowBlock& block) const;

    std::vector<Flow> flows_;
    std::optional<LogGain> level_;
    std::size_t behind_ = 0;  // flows of part 0
    std::size_t scratch_ = 0, given_ = 0, state_bytes_ = 0;
    float truncation_ = 0;
};

}  // namespace seqgen
