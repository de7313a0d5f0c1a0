// Gated recurrent layers, seqgen/nets/gru.py, of any number of rows side by side.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "kernels/pack.hpp"
#include "program/json.hpp"
#include "program/tensors.hpp"

namespace seqgen {

// Weights [3 units, width] of gates with each gate's rows padded and in the kernels' units.
MatrixSource gate_rows(const float* weights, std::size_t width, std::size_t units, seqgen_format format);

// A layer: r, z, n gates of W x + b and R h, the reset after the product; rows of a gate are padded to whole vectors.
// In 8 bits a state is its numbers over 127.
class GruLayer {
   public:
    // How what the layer reads stands in 8 bits, how its weights are held, and what it is called in messages.
    struct Form {
        Activations inputs;
        seqgen_format format;
        const Kernels& kernels;
        std::string where;
    };

    // Of the tensors that `op` names: `input_weight` [3 H, width], `input_bias` and `recurrent`; `units` is H, 0 where
    // any will do. Raises Failure(SEQGEN_FORMAT) where they do not fit.
    GruLayer(const Json& op, const Tensors& tensors, std::size_t width, std::size_t units, const Form& form);

    std::size_t units() const { return units_; }
    std::size_t blocks() const { return input_.blocks() + recurrent_.blocks(); }
    std::size_t bytes() const { return input_.bytes() + recurrent_.bytes(); }
    bool small() const { return form_.format == SEQGEN_FORMAT_INT8; }

    // entering = W x, of some rows of [width] padded, in floats or in bytes.
    void enter(Rows<const float> x, Rows<const std::uint8_t> bytes, Rows<float> entering, int rows) const;

    // States [units] of some rows, and the same in 8 bits, are moved on; `scales` are those of the bytes that each row
    // entered with, `products` is scratch for [rows][3 units].
    struct Step {
        Rows<const float> entering;
        const float* scales;
        Rows<float> hidden;
        Rows<std::uint8_t> bytes;
        float* products;
    };
    void step(const Step& step, int rows) const;

   private:
    void apply(const PackedMatrix& matrix, Rows<const float> x, Rows<const std::uint8_t> bytes, Rows<float> y,
               int rows) const;

    Form form_;
    std::size_t units_;
    PackedMatrix input_, recurrent_;
    AlignedArray<float> bias_, zeros_;
};

}  // namespace seqgen
