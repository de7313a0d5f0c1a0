// Distributions of real-valued samples: what a network's outputs mean, and what uniform numbers draw from them.
//
// As seqgen/emissions has them. One portable implementation for all instruction sets: it runs once a sample.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "program/json.hpp"

namespace seqgen {

class Distribution {
 public:
    // The emission of an op of this name; null where there is none. Raises Failure for missing or absurd constants.
    static std::unique_ptr<Distribution> named(const std::string& name, const Json& op, const std::string& where);

    Distribution() = default;
    Distribution(const Distribution&) = delete;
    Distribution& operator=(const Distribution&) = delete;
    virtual ~Distribution() = default;

    virtual std::size_t params() const = 0;  // network outputs per sample
    virtual int draws() const = 0;           // uniform numbers per sample, at most 2

    // Parameters of the distribution of the value times e^level, in place.
    virtual void louder(float* params, float level) const = 0;

    // A value in [-1, 1] for any parameters and numbers, NaN included.
    virtual float sample(const float* params, const float* uniforms, float temperature) const = 0;
};

// Samples divided by e^level before the network reads them, its distribution made e^level times as wide:
//   level = spread * c + ln typical, c the last conditioning channel (seqgen/models/levelled.py).
struct LogGain {
    float spread, origin;

    // Raises Failure for a spread or an amplitude that is not positive.
    static LogGain read(const Json& op, const std::string& where);
};

// A number of an op. Raises Failure(SEQGEN_FORMAT) outside [low, high].
double number(const Json& op, const char* name, double low, double high, const std::string& where);

}  // namespace seqgen
