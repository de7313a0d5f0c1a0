// Exponential, logarithm and the inverse of the normal distribution function for what is drawn once a sample.
//
// Plain additions and multiplications of doubles in one order, which every machine rounds alike: the C library's
// functions differ from one system to the next. Errors are some 1e-15, far below what float32 resolves.
#pragma once

#include <cstdint>

namespace seqgen {

// e^x, of x held in [-700, 700]; NaN counts as -700.
double exponential(double x);

// The same in float32, of x held in [-87, 87] so that it stays normal; NaN counts as -87.
inline float exponential(float x) {
    return static_cast<float>(exponential(static_cast<double>(x > -87.0f ? (x < 87.0f ? x : 87.0f) : -87.0f)));
}

// ln x of a positive normal number.
double logarithm(double x);

// The z that a standard normal number stays below with probability u, of u held in [2^-25, 1 - 2^-25].
// Wichura 1988, "Algorithm AS 241", as seqgen/distributions/normal_quantile.py has it.
double normal_quantile(double u);

// x Φ(x), Φ the normal distribution function; within 1e-7 of |x|.
// Abramowitz and Stegun 1964, formula 7.1.26.
double gelu(double x);

// u where it lies between 2^-25 and 1 - 2^-25, else the nearer bound; NaN counts as the lower one. Uniform numbers are
// multiples of 2^-24 below 1: only 0 is moved, half a step inwards.
inline double inside(double u) {
    constexpr double kLeast = 0x1p-25;
    return u > kLeast ? (u < 1 - kLeast ? u : 1 - kLeast) : kLeast;
}

}  // namespace seqgen
