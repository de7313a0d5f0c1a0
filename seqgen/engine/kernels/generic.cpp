// The definition of every kernel: the vector of 16 floats as plain loops.
#include <cmath>
#include <cstring>
#include <type_traits>

#include "kernels/kernels.hpp"

namespace seqgen {
namespace {

constexpr char kName[] = "generic";
constexpr int kZeroPoint = 0;
constexpr int kTile = 2;
constexpr int kDense = 1, kDenseFloats = 1;
constexpr int kTogether = 1;
constexpr int kRowsOfTile = 1, kGroupsOfTile = 1;  // of a dense product: their sums fill the registers

struct Vec {
    float lane[kSimdWidth];
};
struct Sum {
    std::int32_t lane[kSimdWidth];
};
struct Block {
    const std::uint8_t* weights;
};
struct Quad {
    std::int32_t value[4];
};
struct Quads {
    Quad strip[4];
};

template <typename F>
inline Vec each(F function) {
    Vec made;
    for (int i = 0; i < kSimdWidth; ++i) made.lane[i] = function(i);
    return made;
}

inline Vec load(const float* from) {
    return each([&](int i) { return from[i]; });
}
inline Vec splat(float value) {
    return each([&](int) { return value; });
}
inline void store(float* to, const Vec& v) { std::memcpy(to, v.lane, sizeof v.lane); }
inline void store_past_caches(float* to, const Vec& v) { store(to, v); }
inline Vec add(const Vec& a, const Vec& b) {
    return each([&](int i) { return a.lane[i] + b.lane[i]; });
}
inline Vec sub(const Vec& a, const Vec& b) {
    return each([&](int i) { return a.lane[i] - b.lane[i]; });
}
inline Vec mul(const Vec& a, const Vec& b) {
    return each([&](int i) { return a.lane[i] * b.lane[i]; });
}
inline Vec div(const Vec& a, const Vec& b) {
    return each([&](int i) { return a.lane[i] / b.lane[i]; });
}
inline Vec fma(const Vec& a, const Vec& b, const Vec& c) {
    return each([&](int i) { return std::fma(a.lane[i], b.lane[i], c.lane[i]); });
}
inline Vec max(const Vec& a, const Vec& b) {
    return each([&](int i) { return a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]; });
}
inline Vec min(const Vec& a, const Vec& b) {
    return each([&](int i) { return a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i]; });
}

inline std::uint32_t bits(float value) {
    std::uint32_t made;
    std::memcpy(&made, &value, sizeof made);
    return made;
}
inline float real(std::uint32_t value) {
    float made;
    std::memcpy(&made, &value, sizeof made);
    return made;
}

// value * 2^n for the whole number n in the low bits of `whole`.
inline Vec shift_exponent(const Vec& value, const Vec& whole) {
    return each([&](int i) { return real(bits(value.lane[i]) + (bits(whole.lane[i]) << 23)); });
}

inline Vec magnitude(const Vec& v) {
    return each([&](int i) { return real(bits(v.lane[i]) & 0x7FFFFFFFu); });
}

// |v|, at most `most`.
inline Vec limited(const Vec& v, float most) { return min(magnitude(v), splat(most)); }

// v less the nearest whole number, `whole` being v + kRound.
inline Vec beyond(const Vec& v, const Vec& whole) { return sub(v, sub(whole, splat(kRound))); }

// `size`, which is not negative, with the sign of `of`.
inline Vec with_sign(const Vec& size, const Vec& of) {
    return each([&](int i) { return real(bits(size.lane[i]) | (bits(of.lane[i]) & 0x80000000u)); });
}

// Of 16 numbers the one at the whole number in the low bits of each lane.
inline Vec pick(const float* table, const Vec& whole) {
    return each([&](int i) { return table[bits(whole.lane[i]) & 15u]; });
}

// The low byte of each lane's whole number, `offset` added.
inline void store_bytes(std::uint8_t* to, const Vec& whole, int offset) {
    for (int i = 0; i < kSimdWidth; ++i)
        to[i] = static_cast<std::uint8_t>(bits(whole.lane[i]) + static_cast<unsigned>(offset));
}

inline float largest_element(const Vec& v) {
    float most = v.lane[0];
    for (int i = 1; i < kSimdWidth; ++i) most = v.lane[i] > most ? v.lane[i] : most;
    return most;
}

inline float tree_sum(const float* from) {
    float lane[kSimdWidth];
    std::memcpy(lane, from, sizeof lane);
    for (int half = kSimdWidth / 2; half > 0; half /= 2) {
        for (int i = 0; i < half; ++i) lane[i] += lane[i + half];
    }
    return lane[0];
}

#include "kernels/kernel_sums.hpp"

// How many of the first 15 lanes are at most `limit`.
inline int count_at_most(const Vec& v, float limit) {
    int count = 0;
    for (int i = 0; i < kSimdWidth - 1; ++i) count += v.lane[i] <= limit;
    return count;
}

// Four numbers from each column on: a quarter of the lanes from each.
inline Vec quarters(const float* from, const std::uint16_t* columns) {
    return each([&](int i) { return from[columns[i / 4] + i % 4]; });
}
// In each quarter its number K.
template <int K>
inline Vec spread(const Vec& v) {
    return each([&](int i) { return v.lane[i / 4 * 4 + K]; });
}
inline void store_quarters(float* to, const std::uint32_t* rows, const Vec& v) {
    for (int i = 0; i < 4; ++i) std::memcpy(to + rows[i], v.lane + 4 * i, 4 * sizeof(float));
}

inline Sum load_sum(const std::int32_t* from) {
    Sum made;
    std::memcpy(made.lane, from, sizeof made.lane);
    return made;
}
inline Sum no_sum() { return Sum{}; }
inline Block load_block(const std::uint8_t* weights) { return {weights}; }
inline Quad quad(const std::uint8_t* x) {
    Quad made;
    for (int i = 0; i < 4; ++i) made.value[i] = static_cast<std::int8_t>(x[i]);
    return made;
}
inline Sum dot(Sum sum, const Block& block, const Quad& x) {
    for (int i = 0; i < kSimdWidth; ++i) {
        for (int k = 0; k < 4; ++k) sum.lane[i] += static_cast<std::int8_t>(block.weights[4 * i + k]) * x.value[k];
    }
    return sum;
}
// Four activations from each column on, for a strip each.
inline Quads quads(const std::uint8_t* x, const std::uint16_t* columns) {
    return {{quad(x + columns[0]), quad(x + columns[1]), quad(x + columns[2]), quad(x + columns[3])}};
}
inline Sum dot(Sum sum, const Block& block, const Quads& x) {
    for (int i = 0; i < kSimdWidth; ++i) {
        const std::int32_t* value = x.strip[i / 4].value;
        for (int k = 0; k < 4; ++k) sum.lane[i] += static_cast<std::int8_t>(block.weights[4 * i + k]) * value[k];
    }
    return sum;
}
inline Vec to_float(const Sum& a, const Sum& b) {
    return each([&](int i) { return static_cast<float>(a.lane[i] + b.lane[i]); });
}

inline Vec halves(const std::uint8_t* weights, std::size_t which) {
    return each([&](int i) {
        std::uint16_t half;
        std::memcpy(&half, weights + 4 * static_cast<std::size_t>(i) + 2 * which, sizeof half);
        return real(static_cast<std::uint32_t>(half) << 16);
    });
}
inline Vec low_halves(const std::uint8_t* weights) { return halves(weights, 0); }
inline Vec high_halves(const std::uint8_t* weights) { return halves(weights, 1); }

#include "kernels/kernel_some.hpp"

inline Vec load_halves(const std::uint16_t* from) {
    return each([&](int i) { return widened(from[i]); });
}
inline void store_halves(std::uint16_t* to, const Vec& v) {
    for (int i = 0; i < kSimdWidth; ++i) to[i] = narrowed(v.lane[i]);
}

#include "kernels/kernel_templates.hpp"

}  // namespace

const Kernels* generic_kernels() { return &kKernels; }

}  // namespace seqgen
