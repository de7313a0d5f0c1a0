// The inner loops over a vector of 16 floats (Vec), 16 sums (Sum), a block of int8 weights (Block), four broadcast
// activations (Quad) and four times four of them (Quads), which the including file defines for one instruction set.
// Included inside its unnamed namespace: no function here may be shared between files, or one set's code could run on a
// machine that lacks it.

constexpr float kLowest = -126.0f;  // the smallest exponent of a normal number
constexpr float kHighest = 60.0f;   // two such powers of two still multiply to a finite number

// Coefficients of 2^f on [-1/2, 1/2] with the least relative error (7.5e-8), by Remez' exchange.
constexpr float kQuintic[] = {1.0000000717f, 0.6931469671f, 0.2402211972f, 0.0555071327f, 0.0096755413f, 0.0013276472f};

// 2^y for y in [-126, 127).
inline Vec power_of_two(Vec y) {
    const Vec whole = add(y, splat(kRound));
    const Vec rest = beyond(y, whole);
    Vec sum = splat(kQuintic[5]);
    for (int term = 4; term >= 0; --term) sum = fma(sum, rest, splat(kQuintic[term]));
    return shift_exponent(sum, whole);
}

inline Vec clamped(Vec y) { return min(max(y, splat(kLowest)), splat(kHighest)); }

#include "kernels/kernel_products.hpp"

inline void small_state(std::uint8_t* to, Vec hidden) {
    // The zero point is even, so that what is rounded to the nearest even number stays the same.
    store_bytes(to, fma(hidden, splat(127.0f), splat(kRound + kZeroPoint)), 0);
}

void quantise_state(const float* hidden, std::size_t count, std::uint8_t* bytes) {
    for (std::size_t at = 0; at < count; at += kSimdWidth) small_state(bytes + at, load(hidden + at));
}

// σ(0.6 y) - 1/2 in 16 pieces [k - 1/2, k + 1/2] of |y|: quadratics of least error (1e-4), the first one through zero.
// The last one leads to 1/2 itself: an update gate that ended at 0.9999 would have every unit forget within 10,000
// steps, which cost a dense recurrent network 0.015 nats a sample.
alignas(64) constexpr float kPiece0[kSimdWidth] = {
    0.0f,         0.145646676f, 0.268516302f, 0.358145535f, 0.416827738f, 0.452575684f, 0.473404437f, 0.485226959f,
    0.491838038f, 0.495504081f, 0.497527629f, 0.49864164f,  0.499254048f, 0.499590456f, 0.499775201f, 0.499900105f};
alignas(64) constexpr float kPiece1[kSimdWidth] = {0.150475934f,    0.136698112f,    0.106655806f,    0.0732560381f,
                                                   0.0460309647f,   0.0273281056f,   0.0156815406f,   0.00882333331f,
                                                   0.00490971096f,  0.00271513173f,  0.00149642804f,  0.000823154813f,
                                                   0.000452317909f, 0.000248414784f, 0.000136386967f, 0.000168812998f};
alignas(64) constexpr float kPiece2[kSimdWidth] = {
    -0.0030972797f,   -0.0118026389f,  -0.0170172937f,   -0.0156268887f,   -0.011451263f,    -0.00739187142f,
    -0.00444070809f,  -0.00256231194f, -0.00144563708f,  -0.000805546355f, -0.000446068181f, -0.000245934876f,
    -0.000135230919f, -7.4295167e-05f, -4.08354172e-05f, 7.1538691e-05f};
constexpr float kLastPiece = 15.49f;

inline Vec half_sigmoid(Vec y) {
    const Vec size = limited(y, kLastPiece);
    const Vec whole = add(size, splat(kRound));
    const Vec rest = beyond(size, whole);
    const Vec slope = fma(pick(kPiece2, whole), rest, pick(kPiece1, whole));
    return with_sign(fma(slope, rest, pick(kPiece0, whole)), y);
}

// What a call gives to all of its gates, of so many inputs, with context or without.
template <int Inputs, bool Context>
struct Given {
    const Gates& gates;
    Vec known[3], weight, scale;

    explicit Given(const Gates& g)
        : gates(g),
          known{splat(g.known[0]), splat(g.known[1]), splat(g.known[2])},
          weight(splat(g.weight)),
          scale(splat(g.scale)) {}

    // Input part of 16 rows.
    Vec input(std::size_t row) const {
        Vec sum = fma(weight, load(gates.delta + row), load(gates.from + row));
        if constexpr (Context) sum = fma(scale, load(gates.context + row), sum);
        for (int k = 0; k < Inputs; ++k) sum = fma(known[k], load(gates.input + k * gates.stride + row), sum);
        return sum;
    }
};

// V vectors of units at a time, step by step: a processor looks too few instructions ahead to overlap the long chain of
// one vector with that of the next by itself.
struct Exact {
    template <int V, typename Given>
    static void units(const Given& given, std::size_t at) {
        const Gates& g = given.gates;
        const Vec one = splat(1.0f);
        Vec r[V], a[V], b[V];
        for (int v = 0; v < V; ++v) {
            const std::size_t row = at + v * kSimdWidth;
            const Vec reset = add(given.input(row), load(g.products + row));
            r[v] = div(one, add(one, power_of_two(clamped(reset))));
        }
        for (int v = 0; v < V; ++v) {
            const std::size_t row = g.units + at + v * kSimdWidth;
            a[v] = power_of_two(clamped(add(given.input(row), load(g.products + row))));
        }
        for (int v = 0; v < V; ++v) {
            const std::size_t row = 2 * g.units + at + v * kSimdWidth;
            b[v] = power_of_two(clamped(fma(r[v], load(g.products + row), given.input(row))));
        }
        for (int v = 0; v < V; ++v) {
            // With a = e^-u and b = e^-2n: h' = (h + a (1-b)/(1+b)) / (1+a), both quotients as one.
            const std::size_t unit = at + v * kSimdWidth;
            const Vec above = add(one, b[v]), below = sub(one, b[v]);
            const Vec top = fma(load(g.before + unit), above, mul(a[v], below));
            store(g.after + unit, div(top, mul(above, add(one, a[v]))));
        }
    }
};

struct Quick {
    template <int V, typename Given>
    static void units(const Given& given, std::size_t at) {
        const Gates& g = given.gates;
        const Vec half = splat(0.5f);
        Vec r[V], u[V], n[V];
        for (int v = 0; v < V; ++v) {
            const std::size_t row = at + v * kSimdWidth;
            r[v] = add(half, half_sigmoid(add(given.input(row), load(g.products + row))));
        }
        for (int v = 0; v < V; ++v) {
            const std::size_t row = g.units + at + v * kSimdWidth;
            u[v] = add(half, half_sigmoid(add(given.input(row), load(g.products + row))));
        }
        for (int v = 0; v < V; ++v) {
            const std::size_t row = 2 * g.units + at + v * kSimdWidth;
            n[v] = half_sigmoid(fma(r[v], load(g.products + row), given.input(row)));
        }
        for (int v = 0; v < V; ++v) {
            const std::size_t unit = at + v * kSimdWidth;
            const Vec candidate = add(n[v], n[v]);
            const Vec hidden = fma(u[v], sub(load(g.before + unit), candidate), candidate);
            store(g.after + unit, hidden);
            small_state(g.bytes + unit, hidden);
        }
    }
};

template <typename Kind, int Inputs, bool Context>
inline void run_gates(const Gates& g) {
    const Given<Inputs, Context> given(g);
    std::size_t at = 0;
    for (; at + kTogether * kSimdWidth <= g.units; at += kTogether * kSimdWidth) {
        Kind::template units<kTogether>(given, at);
    }
    for (; at < g.units; at += kSimdWidth) Kind::template units<1>(given, at);
}

template <typename Kind>
void gates(const Gates& g) {
    if (g.context != nullptr) return g.inputs == 3 ? run_gates<Kind, 3, true>(g) : run_gates<Kind, 2, true>(g);
    g.inputs == 3 ? run_gates<Kind, 3, false>(g) : run_gates<Kind, 2, false>(g);
}

void rectify(float* y, const float* bias, std::size_t count) {
    for (std::size_t at = 0; at < count; at += kSimdWidth) {
        store(y + at, max(add(load(y + at), load(bias + at)), splat(0.0f)));
    }
}

float rectify_and_quantise(const float* y, const float* bias, float multiplier, std::size_t count,
                           std::uint8_t* bytes) {
    const Vec times = splat(multiplier);
    const auto positive = [&](std::size_t at) { return max(fma(load(y + at), times, load(bias + at)), splat(0.0f)); };
    Vec most = splat(1e-30f);  // where all is zero, so that the quotient stays finite
    for (std::size_t at = 0; at < count; at += kSimdWidth) most = max(positive(at), most);
    const float largest = largest_element(most);
    const Vec factor = splat(254.0f / largest);
    for (std::size_t at = 0; at < count; at += kSimdWidth) {
        store_bytes(bytes + at, fma(positive(at), factor, splat(kRound)), kZeroPoint - 127);
    }
    return largest / 254.0f;
}

int draw(const float* y, const float* bias, float multiplier, float sharpness, float uniform) {
    alignas(64) float mass[kClasses];
    const Vec times = splat(multiplier), steep = splat(sharpness * 1.44269504f);
    Vec most = splat(-3e38f);
    for (int at = 0; at < kClasses; at += kSimdWidth) {
        const Vec logit = mul(fma(load(y + at), times, load(bias + at)), steep);
        store(mass + at, logit);
        most = max(logit, most);
    }
    const Vec top = splat(largest_element(most)), nothing = splat(kQuintic[0] * 0x1p-126f);
    alignas(64) float sums[kSimdWidth];
    for (int at = 0; at < kClasses; at += kSimdWidth) {
        const Vec exponent = max(sub(load(mass + at), top), splat(kLowest));
        store(mass + at, sub(power_of_two(exponent), nothing));
    }
    store(sums, cumulated(sums_of_16(mass)));
    const float target = uniform * sums[kSimdWidth - 1];
    const int group = count_at_most(load(sums), target);
    const float before = group == 0 ? 0.0f : sums[group - 1];
    const Vec inside = add(cumulated(load(mass + kSimdWidth * group)), splat(before));
    return kSimdWidth * group + count_at_most(inside, target);
}

#include "kernels/kernel_dilated.hpp"
#include "kernels/kernel_symbols.hpp"
#include "kernels/kernel_training.hpp"

const Kernels kKernels = {kName,        kZeroPoint == 128, product<Float32>, product<BFloat16>, product<Int8>,
                          gates<Exact>, gates<Quick>,      quantise_state,   rectify,           rectify_and_quantise,
                          filter,       filter_quick,      accumulate,       quantise_scaled,   draw,
                          draw_class,   write_logits,      layer_norm,       multiply_units, dense<Singles>, dense<Pairs>, gru_forward, gru_backward,
                          gated_forward, gated_backward, to_bf16,
                          write_past_caches, sum_lines, spread_lines, from_bf16, log_sum, softmax_gradient};
