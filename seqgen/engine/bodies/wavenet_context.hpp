// Context stack of a WaveNet: a network at a fraction of the rate, which reads `rate` elements at a time and adds its
// newest output to the conditioning of all layers' gates, until the next is due. As seqgen/models/wavenet_context.py.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "kernels/pack.hpp"
#include "layers/conditioner.hpp"
#include "program/json.hpp"
#include "program/tensors.hpp"

namespace seqgen {

// Weights of a context stack: an embedding of symbols, where it reads those, and a network over `rate` of them.
class WaveNetContext {
   public:
    // `vector`: numbers that the network must make. Raises Failure for missing or unfitting tensors.
    WaveNetContext(const Json& op, const Tensors& tensors, seqgen_format format, const Kernels& kernels,
                   std::size_t vector, const std::string& where);

    // Its state, floats: elements that wait, as the network reads them; its newest output; the network's own state.
    std::size_t state_bytes() const { return sizeof(std::uint32_t) + floats() * sizeof(float); }
    void init(unsigned char* state) const;
    bool fits(const unsigned char* state) const;
    bool reads_symbols() const { return !embedding_.empty(); }

    // State of one stream, in a call's workspace.
    struct Stream {
        float *waiting, *held, *net, *scratch;
        std::uint32_t phase;  // elements that wait
    };
    std::size_t floats() const { return rate_ * width_ + vector_ + net_.initial().size(); }
    std::size_t scratch() const { return net_.scratch(); }
    void load(Stream& own, const unsigned char* state) const;
    void save(const Stream& own, unsigned char* state) const;

    // Takes the next element. Returns whether there is a new output.
    bool take(Stream& own, int symbol) const;
    bool take(Stream& own, float value) const;

   private:
    bool taken(Stream& own) const;

    Conditioner net_;
    std::size_t rate_ = 0, width_ = 1;  // numbers of an element
    std::size_t vector_;
    std::size_t out_ = 0;           // where its output lies in its scratch
    std::vector<float> embedding_;  // of symbols, [256][width]
};

}  // namespace seqgen
