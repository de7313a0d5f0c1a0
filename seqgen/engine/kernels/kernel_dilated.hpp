// Gated units of a dilated convolution and what stands around them; part of kernel_templates.hpp.

inline Vec entering(const Filter& f, std::size_t row) {
    Vec sum = fma(splat(f.weight), load(f.delta + row), load(f.from + row));
    for (int tap = 0; tap < f.taps; ++tap) sum = fma(splat(f.sizes[tap]), load(f.products[tap] + row), sum);
    return sum;
}

void filter(const Filter& f) {
    const Vec one = splat(1.0f);
    for (std::size_t at = 0; at < f.units; at += kSimdWidth) {
        // With a = e^-2x and b = e^-s: tanh(x) σ(s) = (1-a) / ((1+a) (1+b)).
        const Vec a = power_of_two(clamped(entering(f, at))), b = power_of_two(clamped(entering(f, f.units + at)));
        store(f.gated + at, div(sub(one, a), mul(add(one, a), add(one, b))));
    }
}

void filter_quick(const Filter& f) {
    for (std::size_t at = 0; at < f.units; at += kSimdWidth) {
        const Vec half_tanh = half_sigmoid(entering(f, at)), gate = half_sigmoid(entering(f, f.units + at));
        const Vec tanh = add(half_tanh, half_tanh);
        small_state(f.bytes + at, mul(tanh, add(gate, splat(0.5f))));
    }
}

void accumulate(float* sum, const float* y, float multiplier, const float* bias, std::size_t count) {
    const Vec times = splat(multiplier);
    for (std::size_t at = 0; at < count; at += kSimdWidth) {
        store(sum + at, add(load(sum + at), fma(load(y + at), times, load(bias + at))));
    }
}

float quantise_scaled(const float* x, std::size_t count, std::uint8_t* bytes) {
    Vec most = splat(1e-30f);  // where all is zero, so that the quotient stays finite
    for (std::size_t at = 0; at < count; at += kSimdWidth) most = max(magnitude(load(x + at)), most);
    const float largest = largest_element(most);
    const Vec factor = splat(127.0f / largest);
    for (std::size_t at = 0; at < count; at += kSimdWidth) {
        store_bytes(bytes + at, fma(load(x + at), factor, splat(kRound)), kZeroPoint);
    }
    return largest;
}
