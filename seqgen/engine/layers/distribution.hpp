// Distributions of samples: what a network's outputs mean, and what uniform numbers draw from them.
//
// As seqgen/distributions has them. Those of real numbers are one portable implementation for all instruction sets:
// they run once a sample.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "kernels/kernels.hpp"
#include "program/json.hpp"

namespace seqgen {

// The distribution of one symbol as an output layer leaves it: logit k is multiplier * products[k] + bias[k].
struct Logits {
    const float *products, *bias;  // [classes]
    float multiplier;
    const Kernels* kernels;
    std::size_t classes = kClasses;
    float* scratch = nullptr;  // of any number of classes, see Classes in kernels.hpp; null where they are kClasses

    // The class that `uniform` draws, `sharpness` being one over the temperature; and all logits in the order of
    // classes.
    int draw(float sharpness, float uniform) const {
        if (scratch == nullptr) return kernels->draw(products, bias, multiplier, sharpness, uniform);
        return kernels->draw_class({products, bias, multiplier, classes, scratch}, sharpness, uniform);
    }
    void write(float* logits) const { kernels->write_logits(products, bias, multiplier, classes, logits); }
};

// A distribution of real-valued samples.
class Distribution {
   public:
    // The distribution of an op of this name; null where there is none. Raises Failure for missing or absurd constants.
    static std::unique_ptr<Distribution> named(const std::string& name, const Json& op, const std::string& where);

    Distribution() = default;
    Distribution(const Distribution&) = delete;
    Distribution& operator=(const Distribution&) = delete;
    virtual ~Distribution() = default;

    virtual std::size_t num_params() const = 0;  // network outputs per sample
    virtual int num_uniforms() const = 0;        // uniform numbers per sample, at most 2

    // Parameters of the distribution of the value times e^gain, in place.
    virtual void amplify(float* params, float gain) const = 0;

    // A value in [-1, 1] for any parameters and numbers, NaN included.
    virtual float sample(const float* params, const float* uniforms, float temperature) const = 0;
};

// Gain normalisation: samples are divided by e^gain before the network reads them, its distribution made e^gain times
// as wide. gain = spread * c + ln typical, c the last conditioning channel (seqgen/generation/gain.py).
struct LogGain {
    float spread, origin;

    // Raises Failure for a spread or an amplitude that is not positive.
    static LogGain read(const Json& op, const std::string& where);
};

// A number of an op. Raises Failure(SEQGEN_FORMAT) outside [low, high].
double number(const Json& op, const char* name, double low, double high, const std::string& where);

}  // namespace seqgen
