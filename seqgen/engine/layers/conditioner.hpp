// The conditioning network: features to one vector a frame, at the frame rate.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "kernels/pack.hpp"
#include "program/json.hpp"
#include "program/tensors.hpp"

namespace seqgen {

// Ops over named values of a frame, in the order of the program:
//   normalise  y = (x[start:stop] - shift) * scale        slice  y = x[start:stop]
//   conv       y_t = b + Σ_k W_k x_{t-(K-1-k)*dilation}   dense  y = W x + b
//   add        y = x1 + x2                                relu   y = max(x, 0)
//   gelu       y = x Φ(x)
//   period     y = (ln of the period that x[start], x[start + 1] tell and its clarity, so many frames ago, x1)
class Conditioner {
   public:
    static constexpr const char* kKnownOps = "normalise, slice, conv, dense, add, relu, gelu, period";

    Conditioner() = default;
    // `format` of the weights: float32 or bf16.
    Conditioner(std::size_t channels, seqgen_format format, const Kernels& kernels);

    // Appends an op of the program. Returns false where it is none of the above.
    // Raises Failure(SEQGEN_FORMAT) for missing or unfitting values and tensors.
    bool append(const Json& op, const Tensors& tensors, const std::string& where);

    // The place of a named value in the scratch of one stream, and its width.
    struct Value {
        std::size_t offset, width;
    };
    Value value(const std::string& name, const std::string& where) const;

    // Floats of scratch and of carried state that one stream takes, and the state of a fresh one.
    std::size_t scratch() const { return scratch_; }
    const std::vector<float>& initial() const { return initial_; }

    // One frame of `streams` streams: the values lie in `scratch` afterwards, `state` is that after the frame.
    void run(const float* features, std::size_t features_stride, float* scratch, float* state, int streams) const;

   private:
    enum class Kind { normalise, slice, conv, dense, add, relu, gelu, period };
    struct Op {
        Kind kind = Kind::relu;
        std::size_t in = 0, second = 0, out = 0, width = 0;
        float shift = 0, scale = 1;
        PackedMatrix matrix;
        std::vector<float> bias;
        std::size_t taps = 1, dilation = 1, line = 0, history = 0;
        float longest = 0, span = 0;  // of `period`, whose delay is `dilation`
    };

    std::size_t reserve(std::size_t width);
    void tell_period(Op& op, const Json& described, const std::string& where);
    static void period(const Op& op, const float* features, float* history, float* made);
    void cut(Op& op, const Json& described, const std::string& where);
    std::size_t product(Op& op, const Json& described, const Tensors& tensors, const std::string& where);
    void remember(Op& op, const Json& described, const Tensors& tensors, const std::string& where);
    void convolve(const Op& op, float* scratch, float* state, int streams) const;
    void apply(const Op& op, float* scratch, float* state, int streams) const;

    const Kernels* kernels_ = nullptr;
    seqgen_format format_ = SEQGEN_FORMAT_FLOAT32;
    std::size_t channels_ = 0, scratch_ = 0;
    std::vector<float> initial_;
    std::vector<Op> ops_;
    std::map<std::string, Value> values_;
};

}  // namespace seqgen
