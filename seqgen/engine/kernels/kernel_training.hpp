// Products of many rows and the gates of a recurrence, both ways, as training needs them; part of kernel_templates.hpp.

// Weights of one float each, and inputs that are floats.
struct Singles {
    using Input = float;

    template <int R, int G>
    static void step(const float* const (&weights)[G], const Rows<const float>& x, std::size_t at, Vec (&sums)[R][G]) {
        Vec w[G];
        for (int g = 0; g < G; ++g) w[g] = load(weights[g] + at * kSimdWidth);
        for (int r = 0; r < R; ++r) {
            const Vec value = splat(x.data[r * x.stride + at]);
            for (int g = 0; g < G; ++g) sums[r][g] = fma(value, w[g], sums[r][g]);
        }
    }
};

// Weights and inputs in bfloat16, two inputs to a vector of weights.
struct Pairs {
    using Input = std::uint16_t;

    template <int R, int G>
    static void step(const float* const (&weights)[G], const Rows<const std::uint16_t>& x, std::size_t at,
                     Vec (&sums)[R][G]) {
        Vec low[G], high[G];
        for (int g = 0; g < G; ++g) {
            const auto* pair = reinterpret_cast<const std::uint8_t*>(weights[g] + at * kSimdWidth);
            low[g] = low_halves(pair);
            high[g] = high_halves(pair);
        }
        for (int r = 0; r < R; ++r) {
            const std::uint16_t* pair = x.data + r * x.stride + 2 * at;
            const Vec first = splat(widened(pair[0])), second = splat(widened(pair[1]));
            for (int g = 0; g < G; ++g) sums[r][g] = fma(second, high[g], fma(first, low[g], sums[r][g]));
        }
    }
};

#include "kernels/kernel_dense.hpp"

// Vectors of `count` numbers of which the last one may be short: beyond it zeros are read, and nothing is written.
inline Vec take(const float* from, std::size_t count) { return count >= kSimdWidth ? load(from) : load_some(from, count); }
inline void put(float* to, Vec v, std::size_t count) { count >= kSimdWidth ? store(to, v) : store_some(to, v, count); }

inline Vec sigmoid(Vec x) {
    const Vec y = min(splat(kHighest), max(splat(kLowest), mul(x, splat(-1.44269504f))));
    return div(splat(1.0f), add(splat(1.0f), power_of_two(y)));
}
inline Vec hyperbolic_tangent(Vec x) {
    const Vec half = sigmoid(add(x, x));
    return sub(add(half, half), splat(1.0f));
}

// What is written for later only, and not read again while it is in a cache.
inline bool goes_past_caches(const float* to, std::size_t count) {
    return reinterpret_cast<std::uintptr_t>(to) % kBlockBytes == 0 && count % kSimdWidth == 0;
}

void gru_forward(const GruGates& g) {
    const bool past = goes_past_caches(g.kept, g.units);
    for (std::size_t at = 0; at < g.units; at += kSimdWidth) {
        const std::size_t left = g.units - at;
        const auto part = [&](const float* from, int gate) { return take(from + gate * g.units + at, left); };
        const Vec r = sigmoid(add(part(g.inputs, 0), part(g.products, 0)));
        const Vec z = sigmoid(add(part(g.inputs, 1), part(g.products, 1)));
        const Vec product = part(g.products, 2);
        const Vec n = hyperbolic_tangent(fma(r, product, part(g.inputs, 2)));
        put(g.after + at, fma(z, sub(take(g.before + at, left), n), n), left);
        if (g.kept == nullptr) continue;
        const Vec kept[] = {r, z, n, product};
        for (int i = 0; i < 4; ++i) {
            float* const to = g.kept + i * g.units + at;
            past ? store_past_caches(to, kept[i]) : put(to, kept[i], left);
        }
    }
}

void gru_backward(const GruGradients& g) {
    const Vec one = splat(1.0f);
    for (std::size_t at = 0; at < g.units; at += kSimdWidth) {
        const std::size_t left = g.units - at;
        const auto kept = [&](int i) { return take(g.kept + i * g.units + at, left); };
        const Vec r = kept(0), z = kept(1), n = kept(2), product = kept(3), rest = sub(one, z);
        const Vec after = add(take(g.grad + at, left), take(g.carry + at, left));
        const Vec to_n = mul(mul(after, rest), sub(one, mul(n, n)));
        const Vec to_r = mul(mul(to_n, product), mul(r, sub(one, r)));
        const Vec to_z = mul(mul(after, sub(take(g.before + at, left), n)), mul(z, rest));
        const Vec gates[] = {to_r, to_z, to_n}, products[] = {to_r, to_z, mul(to_n, r)};
        for (int i = 0; i < 3; ++i) {
            put(g.inputs + i * g.units + at, gates[i], left);
            put(g.products + i * g.units + at, products[i], left);
        }
        put(g.carry + at, mul(after, z), left);
    }
}

// Numbers in float32, or in bfloat16 where `half` is set, as `take` and `put` have them.
inline Vec take_either(const void* from, std::size_t at, std::size_t count, bool half) {
    if (!half) return take(static_cast<const float*>(from) + at, count);
    const auto* const given = static_cast<const std::uint16_t*>(from) + at;
    if (count >= kSimdWidth) return load_halves(given);
    std::uint16_t some[kSimdWidth] = {};
    for (std::size_t i = 0; i < count; ++i) some[i] = given[i];
    return load_halves(some);
}
inline void put_either(void* to, std::size_t at, Vec v, std::size_t count, bool half) {
    if (!half) return put(static_cast<float*>(to) + at, v, count);
    auto* const made = static_cast<std::uint16_t*>(to) + at;
    if (count >= kSimdWidth) return store_halves(made, v);
    std::uint16_t all[kSimdWidth];
    store_halves(all, v);
    for (std::size_t i = 0; i < count; ++i) made[i] = all[i];
}

void gated_forward(const GatedUnits& g) {
    for (std::size_t at = 0; at < g.units; at += kSimdWidth) {
        const std::size_t left = g.units - at;
        const auto sum = [&](std::size_t from) {
            Vec made = g.given == nullptr ? splat(0.0f) : take(g.given + from, left);
            for (std::size_t i = 0; i < g.count; ++i) {
                made = fma(splat(g.terms[i].coefficient), take(g.terms[i].line + from, left), made);
            }
            return add(made, take(g.product + from, left));
        };
        const Vec t = hyperbolic_tangent(sum(at)), s = sigmoid(sum(g.units + at)), z = mul(t, s);
        put_either(g.kept, at, t, left, g.half);
        put_either(g.kept, g.units + at, s, left, g.half);
        put_either(g.z, at, z, left, g.half);
        if (g.z_again != nullptr) put_either(g.z_again, at, z, left, g.half);
    }
}

void gated_backward(const GatedGradients& g) {
    const Vec one = splat(1.0f);
    for (std::size_t at = 0; at < g.units; at += kSimdWidth) {
        const std::size_t left = g.units - at;
        const Vec t = take_either(g.kept, at, left, g.half), s = take_either(g.kept, g.units + at, left, g.half);
        Vec grad = take_either(g.grad, at, left, g.half);
        if (g.above != nullptr) grad = add(grad, take(g.above + at, left));
        const Vec inner[] = {mul(mul(grad, s), sub(one, mul(t, t))), mul(mul(grad, t), mul(s, sub(one, s)))};
        for (std::size_t part = 0; part < 2; ++part) {
            const std::size_t to = part * g.units + at;
            put_either(g.inner, to, inner[part], left, g.half);
            if (g.given != nullptr) put(g.given + to, inner[part], left);
            for (std::size_t i = 0; i < g.count; ++i) {
                float* const line = g.terms[i].line + to;
                put(line, fma(splat(g.terms[i].coefficient), inner[part], take(line, left)), left);
            }
        }
    }
}

void to_bf16(const float* from, std::size_t count, std::uint16_t* to) {
    for (std::size_t i = 0; i < count; ++i) to[i] = narrowed(from[i]);
}

void write_past_caches(const void* from, std::size_t bytes, void* to) {
    auto* const rows = static_cast<float*>(to);
    const auto* const given = static_cast<const float*>(from);
    if (bytes % sizeof(float) != 0 || !goes_past_caches(rows, bytes / sizeof(float))) {
        std::memcpy(to, from, bytes);
        return;
    }
    for (std::size_t at = 0; at < bytes / sizeof(float); at += kSimdWidth) store_past_caches(rows + at, load(given + at));
}

void sum_lines(const Term* terms, std::size_t count, std::size_t size, float* sum) {
    for (std::size_t at = 0; at < size; at += kSimdWidth) {
        Vec made = splat(0.0f);
        for (std::size_t i = 0; i < count; ++i) {
            made = fma(splat(terms[i].coefficient), take(terms[i].line + at, size - at), made);
        }
        put(sum + at, made, size - at);
    }
}

void spread_lines(const GradTerm* terms, std::size_t count, std::size_t size, const float* grad) {
    for (std::size_t at = 0; at < size; at += kSimdWidth) {
        const Vec given = take(grad + at, size - at);
        for (std::size_t i = 0; i < count; ++i) {
            float* const line = terms[i].line + at;
            put(line, fma(splat(terms[i].coefficient), given, take(line, size - at)), size - at);
        }
    }
}

void from_bf16(const std::uint16_t* from, std::size_t count, float* to) {
    for (std::size_t i = 0; i < count; ++i) to[i] = widened(from[i]);
}

// As take, but beyond the numbers is what adds nothing to a sum of exponentials.
inline Vec take_logits(const float* from, std::size_t count) {
    if (count >= kSimdWidth) return load(from);
    alignas(64) float lane[kSimdWidth];
    store(lane, splat(-std::numeric_limits<float>::infinity()));
    std::memcpy(lane, from, count * sizeof(float));
    return load(lane);
}

// e^x, 0 where it is below what float32 resolves beside 1; what is not a number stays none.
inline Vec exponential(Vec x) {
    const Vec y = min(splat(kHighest), max(splat(kLowest), mul(x, splat(1.44269504f))));
    return sub(power_of_two(y), splat(kQuintic[0] * 0x1p-126f));
}

LogSum log_sum(const float* x, std::size_t count) {
    Vec most = splat(-std::numeric_limits<float>::infinity());
    for (std::size_t at = 0; at < count; at += kSimdWidth) most = max(most, take_logits(x + at, count - at));
    const float highest = largest_element(most);
    Vec sum = splat(0.0f);
    for (std::size_t at = 0; at < count; at += kSimdWidth) {
        sum = add(sum, exponential(sub(take_logits(x + at, count - at), splat(highest))));
    }
    alignas(64) float lane[kSimdWidth];
    store(lane, sum);
    float total = 0.0f;
    for (const float one : lane) total += one;
    return {highest, std::log(total)};
}

void softmax_gradient(const float* x, std::size_t count, LogSum sum, float grad, float* to) {
    const Vec highest = splat(sum.highest), rest = splat(sum.rest), by = splat(-grad);
    for (std::size_t at = 0; at < count; at += kSimdWidth) {
        const Vec below = sub(take_logits(x + at, count - at), highest);
        put(to + at, mul(by, exponential(sub(below, rest))), count - at);
    }
}
