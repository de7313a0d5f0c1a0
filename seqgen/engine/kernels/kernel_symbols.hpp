// What networks over symbols take besides: a draw among any number of classes, layer
// normalisation, multiplicative units; part of
// kernel_templates.hpp.

// Masses of all classes, 0 where there is none; returns how many there are, padded to whole vectors.
inline std::size_t masses(const Classes& c, float sharpness) {
    const Vec times = splat(c.multiplier), steep = splat(sharpness * 1.44269504f);
    const std::size_t count = (c.count + kSimdWidth - 1) / kSimdWidth * kSimdWidth;
    Vec most = splat(-3e38f);
    for (std::size_t at = 0; at < count; at += kSimdWidth) {
        const Vec logit = mul(fma(load(c.y + at), times, load(c.bias + at)), steep);
        store(c.scratch + at, logit);
        most = max(logit, most);
    }
    const Vec top = splat(largest_element(most)), nothing = splat(kQuintic[0] * 0x1p-126f);
    for (std::size_t at = 0; at < count; at += kSimdWidth) {
        const Vec exponent = max(sub(load(c.scratch + at), top), splat(kLowest));
        store(c.scratch + at, sub(power_of_two(exponent), nothing));
    }
    return count;
}

int draw_class(const Classes& c, float sharpness, float uniform) {
    constexpr std::size_t kTree = kSimdWidth * kSimdWidth;
    float* levels[8] = {c.scratch};  // 16^8 classes are more than any index reaches
    std::size_t vectors[8];          // of each level
    int level = 0;
    for (std::size_t width = masses(c, sharpness); width > kSimdWidth; ++level) {
        const std::size_t whole = (width + kTree - 1) / kTree * kTree;
        float *sums = levels[level], *above = sums + whole;
        vectors[level] = whole / kSimdWidth;
        for (std::size_t at = width; at < whole; at += kSimdWidth) store(sums + at, splat(0.0f));
        for (std::size_t at = 0; at < whole; at += kTree) store(above + at / kSimdWidth, sums_of_16(sums + at));
        levels[level + 1] = above;
        width = whole / kSimdWidth;
    }
    alignas(64) float inside[kSimdWidth];
    store(inside, cumulated(load(levels[level])));
    const float target = uniform * inside[kSimdWidth - 1];
    float before = 0.0f;
    std::size_t place = 0;
    for (;; --level) {
        const int here = count_at_most(load(inside), target);
        place += static_cast<std::size_t>(here);
        if (level == 0) break;
        before = here == 0 ? before : inside[here - 1];
        // Numbers that are none, and uniform ones of 1 or more, lead beyond all sums.
        place = (place < vectors[level - 1] ? place : vectors[level - 1] - 1) * kSimdWidth;
        store(inside, add(cumulated(load(levels[level - 1] + place)), splat(before)));
    }
    // Sums of the same numbers in another order may end a little lower: the last class is what remains.
    return static_cast<int>(place < c.count ? place : c.count - 1);
}

void write_logits(const float* y, const float* bias, float multiplier, std::size_t count, float* logits) {
    const Vec times = splat(multiplier);
    const auto made = [&](std::size_t at) { return fma(load(y + at), times, load(bias + at)); };
    std::size_t at = 0;
    for (; at + kSimdWidth <= count; at += kSimdWidth) store(logits + at, made(at));
    if (at == count) return;
    alignas(64) float last[kSimdWidth];
    store(last, made(at));
    std::memcpy(logits + at, last, (count - at) * sizeof(float));
}

// The sum of a vector's lanes as a tree: halves, quarters, pairs.
inline float lanes_sum(Vec v) {
    alignas(64) float lane[kSimdWidth];
    store(lane, v);
    for (int half = kSimdWidth / 2; half > 0; half /= 2) {
        for (int i = 0; i < half; ++i) lane[i] += lane[i + half];
    }
    return lane[0];
}

void layer_norm(const LayerNorm& n) {
    const std::size_t count = (n.width + kSimdWidth - 1) / kSimdWidth * kSimdWidth;
    const std::size_t whole = n.width / kSimdWidth * kSimdWidth;
    const float share = 1.0f / static_cast<float>(n.width);
    Vec sum = splat(0.0f);
    for (std::size_t at = 0; at < count; at += kSimdWidth) sum = add(load(n.x + at), sum);
    const Vec mean = splat(lanes_sum(sum) * share);
    Vec squares = splat(0.0f);
    for (std::size_t at = 0; at < whole; at += kSimdWidth) {
        const Vec apart = sub(load(n.x + at), mean);
        squares = fma(apart, apart, squares);
    }
    if (whole < count) {  // what lies behind the last channel is no distance from the mean
        alignas(64) float rest[kSimdWidth];
        store(rest, sub(load(n.x + whole), mean));
        for (std::size_t i = n.width - whole; i < kSimdWidth; ++i) rest[i] = 0.0f;
        squares = fma(load(rest), load(rest), squares);
    }
    const Vec scale = splat(1.0f / std::sqrt(lanes_sum(squares) * share + n.epsilon));
    for (std::size_t at = 0; at < count; at += kSimdWidth) {
        const Vec standard = mul(sub(load(n.x + at), mean), scale);
        store(n.y + at, max(fma(standard, load(n.gain + at), load(n.bias + at)), splat(n.least)));
    }
}

void multiply_units(const float* given, const float* h, std::size_t units, float* y) {
    const Vec one = splat(1.0f);
    const auto opened = [&](std::size_t row) { return power_of_two(clamped(load(given + row))); };
    for (std::size_t at = 0; at < units; at += kSimdWidth) {
        const Vec g2 = div(one, add(one, opened(units + at))), g3 = div(one, add(one, opened(2 * units + at)));
        const Vec below = opened(3 * units + at), u = div(sub(one, below), add(one, below));
        const Vec inner = fma(g2, load(h + at), mul(g3, u));
        // As in `filter`: g_1 tanh(inner) as one quotient.
        const Vec a = opened(at), b = power_of_two(clamped(mul(inner, splat(-2.88539008f))));
        store(y + at, div(sub(one, b), mul(add(one, a), add(one, b))));
    }
}
