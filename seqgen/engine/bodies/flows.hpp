// Inverse autoregressive flows: standard noise becomes samples, each flow with a WaveNet of its own.
//   x^0 = z,   x^i_t = x^{i-1}_t s^i_t + μ^i_t,   (μ^i_t, r^i_t) = network_i(x^{i-1}_<t),   s = floor + ln(1 + e^{r +
//   shift})
// As seqgen/models/parallel_wavenet.py and seqgen/flows/affine.py have it. Nothing that is made is read again, so a
// pass takes many samples that follow each other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

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

// Flows of a model, one behind the other, and their weights.
class Flows {
   public:
    // Raises Failure for missing or unfitting tensors.
    Flows(const Json& op, const Tensors& tensors, seqgen_format format, const Kernels& kernels,
          std::optional<LogGain> gain, const std::string& where);

    std::size_t channels() const;                   // of a conditioning vector
    std::size_t vector() const { return vector_; }  // numbers of one as the networks have it
    void arrange(const float* vector, float* made) const;
    std::size_t blocks() const;
    std::size_t bytes() const;
    bool divisible() const { return flows_.size() > 1; }

    std::size_t state_bytes() const { return state_bytes_; }
    void init(unsigned char* state) const;
    bool fits(const unsigned char* state) const;

    // The first flows (part 0) or the rest (part 1), which have about as many layers, in `scratch` bytes of memory,
    // aligned to 64. Before part 0 the block has noise alone.
    std::size_t scratch() const { return scratch_; }
    void run(int part, void* scratch, FlowBlock& block) const;

   private:
    struct Flow {
        WaveNet network;
        double shift, floor;
        std::size_t first;  // of its part of a conditioning vector
        std::size_t state;  // where its state begins: the network's, then the newest input, which no sample has read
    };
    void divide();
    void pass(const Flow& flow, void* scratch, FlowBlock& block) const;
    void amplify(FlowBlock& block) const;

    std::vector<Flow> flows_;
    std::optional<LogGain> gain_;
    std::size_t behind_ = 0;  // flows of part 0
    std::size_t scratch_ = 0, vector_ = 0, state_bytes_ = 0;
};

}  // namespace seqgen
