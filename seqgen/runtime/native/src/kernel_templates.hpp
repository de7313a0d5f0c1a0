// The inner loops over a vector of 16 floats (Vec), 16 sums (Sum), a block of int8 weights (Block) and four broadcast
// activations (Quad), which the including file defines for one instruction set. Included inside its unnamed namespace:
// no function here may be shared between files, or one set's code could run on a machine that lacks it.

constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number, kept in the low bits
constexpr float kLowest = -126.0f;     // the smallest exponent of a normal number
constexpr float kHighest = 60.0f;      // two such powers of two still multiply to a finite number

// Coefficients of 2^f on [-1/2, 1/2] with the least relative error (7.5e-5 and 7.5e-8), by Remez' exchange.
constexpr float kCubic[] = {0.9999280735f, 0.6932609855f, 0.2426111222f, 0.0551716691f};
constexpr float kQuintic[] = {1.0000000717f, 0.6931469671f, 0.2402211972f, 0.0555071327f, 0.0096755413f, 0.0013276472f};

// 2^y for y in [-126, 127).
template <int Terms>
inline Vec power_of_two(Vec y, const float (&coefficients)[Terms]) {
    const Vec whole = add(y, splat(kRound));
    const Vec rest = sub(y, sub(whole, splat(kRound)));
    Vec sum = splat(coefficients[Terms - 1]);
    for (int term = Terms - 2; term >= 0; --term) sum = fma(sum, rest, splat(coefficients[term]));
    return shift_exponent(sum, whole);
}

inline Vec clamped(Vec y) { return min(max(y, splat(kLowest)), splat(kHighest)); }

// Activation `column` of stream s of a tile: strides of up to three fit the processor's addressing, so that eight
// streams take two pointers.
template <typename T>
inline const T* row_of(const T* x, std::size_t stride, int s) {
    const T* base = x + static_cast<std::size_t>(s / 4) * (4 * stride);
    return s % 4 == 0 ? base : s % 4 == 1 ? base + stride : s % 4 == 2 ? base + 2 * stride : base + 3 * stride;
}

// S streams at a time share each block of weights. Even and odd blocks have a sum each: two chains hide the latency.
template <int S>
inline void tile_f32(const Matrix& m, const float* x, std::size_t x_stride, float* y, std::size_t y_stride) {
    const float* weights = reinterpret_cast<const float*>(m.weights);
    const std::uint16_t* column = m.columns;
    for (std::uint32_t group = 0; group < m.groups; ++group) {
        Vec even[S], odd[S];
        for (int s = 0; s < S; ++s) even[s] = odd[s] = splat(0.0f);
        std::uint32_t left = m.starts[group + 1] - m.starts[group];
        for (; left >= 2; left -= 2, weights += 2 * kLanes, column += 2) {
            const Vec w0 = load(weights), w1 = load(weights + kLanes);
            const float *x0 = x + column[0], *x1 = x + column[1];
            for (int s = 0; s < S; ++s) even[s] = fma(w0, splat(*row_of(x0, x_stride, s)), even[s]);
            for (int s = 0; s < S; ++s) odd[s] = fma(w1, splat(*row_of(x1, x_stride, s)), odd[s]);
        }
        if (left > 0) {
            const Vec w = load(weights);
            for (int s = 0; s < S; ++s) even[s] = fma(w, splat(*row_of(x + *column, x_stride, s)), even[s]);
            weights += kLanes;
            ++column;
        }
        for (int s = 0; s < S; ++s) store(y + s * y_stride + m.rows[group], add(even[s], odd[s]));
    }
}

template <int S>
inline void tile_bf16(const Matrix& m, const float* x, std::size_t x_stride, float* y, std::size_t y_stride) {
    const std::uint8_t* weights = m.weights;
    const std::uint16_t* column = m.columns;
    for (std::uint32_t group = 0; group < m.groups; ++group) {
        Vec even[S], odd[S];
        for (int s = 0; s < S; ++s) even[s] = odd[s] = splat(0.0f);
        const std::uint32_t blocks = m.starts[group + 1] - m.starts[group];
        for (std::uint32_t block = 0; block < blocks; ++block, weights += kBlockBytes, ++column) {
            const Vec w0 = low_halves(weights), w1 = high_halves(weights);
            const float* x0 = x + *column;
            for (int s = 0; s < S; ++s) {
                even[s] = fma(w0, splat(row_of(x0, x_stride, s)[0]), even[s]);
                odd[s] = fma(w1, splat(row_of(x0, x_stride, s)[1]), odd[s]);
            }
        }
        for (int s = 0; s < S; ++s) store(y + s * y_stride + m.rows[group], add(even[s], odd[s]));
    }
}

template <int S>
inline void tile_i8(const Matrix& m, const std::uint8_t* x, std::size_t x_stride, float* y, std::size_t y_stride) {
    const std::uint8_t* weights = m.weights;
    const std::uint16_t* column = m.columns;
    for (std::uint32_t group = 0; group < m.groups; ++group) {
        Sum even[S], odd[S];
        for (int s = 0; s < S; ++s) even[s] = load_sum(m.base + group * kLanes), odd[s] = no_sum();
        std::uint32_t left = m.starts[group + 1] - m.starts[group];
        for (; left >= 2; left -= 2, weights += 2 * kBlockBytes, column += 2) {
            const std::uint8_t *x0 = x + column[0], *x1 = x + column[1];
            const Block w0 = load_block(weights), w1 = load_block(weights + kBlockBytes);
            for (int s = 0; s < S; ++s) even[s] = dot(even[s], w0, quad(row_of(x0, x_stride, s)));
            for (int s = 0; s < S; ++s) odd[s] = dot(odd[s], w1, quad(row_of(x1, x_stride, s)));
        }
        if (left > 0) {
            const Block w = load_block(weights);
            for (int s = 0; s < S; ++s) even[s] = dot(even[s], w, quad(row_of(x + *column, x_stride, s)));
            weights += kBlockBytes;
            ++column;
        }
        const Vec scale = load(m.scale + group * kLanes);
        for (int s = 0; s < S; ++s) {
            store(y + s * y_stride + m.rows[group], mul(to_float(even[s], odd[s]), scale));
        }
    }
}

void product_f32(const Matrix& m, const float* x, std::size_t x_stride, float* y, std::size_t y_stride, int streams) {
    for (; streams >= kTile; streams -= kTile, x += kTile * x_stride, y += kTile * y_stride) {
        tile_f32<kTile>(m, x, x_stride, y, y_stride);
    }
    for (; streams >= 2; streams -= 2, x += 2 * x_stride, y += 2 * y_stride) tile_f32<2>(m, x, x_stride, y, y_stride);
    if (streams > 0) tile_f32<1>(m, x, x_stride, y, y_stride);
}

void product_bf16(const Matrix& m, const float* x, std::size_t x_stride, float* y, std::size_t y_stride, int streams) {
    for (; streams >= kTile; streams -= kTile, x += kTile * x_stride, y += kTile * y_stride) {
        tile_bf16<kTile>(m, x, x_stride, y, y_stride);
    }
    for (; streams >= 2; streams -= 2, x += 2 * x_stride, y += 2 * y_stride) tile_bf16<2>(m, x, x_stride, y, y_stride);
    if (streams > 0) tile_bf16<1>(m, x, x_stride, y, y_stride);
}

void product_i8(const Matrix& m, const std::uint8_t* x, std::size_t x_stride, float* y, std::size_t y_stride,
                int streams) {
    for (; streams >= kTile; streams -= kTile, x += kTile * x_stride, y += kTile * y_stride) {
        tile_i8<kTile>(m, x, x_stride, y, y_stride);
    }
    for (; streams >= 2; streams -= 2, x += 2 * x_stride, y += 2 * y_stride) tile_i8<2>(m, x, x_stride, y, y_stride);
    if (streams > 0) tile_i8<1>(m, x, x_stride, y, y_stride);
}

inline void small_state(std::uint8_t* to, Vec hidden) {
    store_bytes(to, fma(hidden, splat(127.0f), splat(kRound)), kZeroPoint);
}

void state_bytes(const float* hidden, std::size_t count, std::uint8_t* bytes) {
    for (std::size_t at = 0; at < count; at += kLanes) small_state(bytes + at, load(hidden + at));
}

// What a call gives to all of its gates.
struct Given {
    const Gates& gates;
    Vec known[3], weight;

    explicit Given(const Gates& g)
        : gates(g), known{splat(g.known[0]), splat(g.known[1]), splat(g.known[2])}, weight(splat(g.weight)) {}

    // Input part of 16 rows.
    template <int Inputs>
    Vec input(std::size_t row) const {
        Vec sum = fma(weight, load(gates.delta + row), load(gates.from + row));
        for (int k = 0; k < Inputs; ++k) sum = fma(known[k], load(gates.input + k * gates.stride + row), sum);
        return sum;
    }
};

// V vectors of units at a time, step by step: a processor looks too few instructions ahead to overlap the long chain of
// one vector with that of the next by itself.
template <int Inputs, int V, int Terms>
inline void some_units(const Given& given, std::size_t at, const float (&coefficients)[Terms]) {
    const Gates& g = given.gates;
    const Vec one = splat(1.0f);
    Vec r[V], a[V], b[V];
    for (int v = 0; v < V; ++v) {
        const std::size_t row = at + v * kLanes;
        const Vec reset = add(given.input<Inputs>(row), load(g.products + row));
        r[v] = div(one, add(one, power_of_two(clamped(reset), coefficients)));
    }
    for (int v = 0; v < V; ++v) {
        const std::size_t row = g.units + at + v * kLanes;
        a[v] = power_of_two(clamped(add(given.input<Inputs>(row), load(g.products + row))), coefficients);
    }
    for (int v = 0; v < V; ++v) {
        const std::size_t row = 2 * g.units + at + v * kLanes;
        b[v] = power_of_two(clamped(fma(r[v], load(g.products + row), given.input<Inputs>(row))), coefficients);
    }
    for (int v = 0; v < V; ++v) {
        // With a = e^-u and b = e^-2n: h' = (h + a (1-b)/(1+b)) / (1+a), both quotients as one.
        const std::size_t unit = at + v * kLanes;
        const Vec above = add(one, b[v]), below = sub(one, b[v]);
        const Vec top = fma(load(g.hidden + unit), above, mul(a[v], below));
        const Vec hidden = div(top, mul(above, add(one, a[v])));
        store(g.hidden + unit, hidden);
        if (g.bytes != nullptr) small_state(g.bytes + unit, hidden);
    }
}

template <int Inputs, int Terms>
inline void run_gates(const Gates& g, const float (&coefficients)[Terms]) {
    const Given given(g);
    std::size_t at = 0;
    for (; at + kTogether * kLanes <= g.units; at += kTogether * kLanes) {
        some_units<Inputs, kTogether>(given, at, coefficients);
    }
    for (; at < g.units; at += kLanes) some_units<Inputs, 1>(given, at, coefficients);
}

void gates(const Gates& g) { g.inputs == 3 ? run_gates<3>(g, kQuintic) : run_gates<2>(g, kQuintic); }

void gates_quick(const Gates& g) { g.inputs == 3 ? run_gates<3>(g, kCubic) : run_gates<2>(g, kCubic); }

void rectify(float* y, const float* bias, std::size_t count) {
    for (std::size_t at = 0; at < count; at += kLanes) {
        store(y + at, max(add(load(y + at), load(bias + at)), splat(0.0f)));
    }
}

float rectify_bytes(float* y, const float* bias, std::size_t count, std::uint8_t* bytes) {
    Vec most = splat(1e-30f);  // where all is zero, so that the quotient stays finite
    for (std::size_t at = 0; at < count; at += kLanes) {
        const Vec positive = max(add(load(y + at), load(bias + at)), splat(0.0f));
        store(y + at, positive);
        most = max(positive, most);
    }
    const float largest = largest_lane(most);
    const Vec factor = splat(254.0f / largest);
    for (std::size_t at = 0; at < count; at += kLanes) {
        store_bytes(bytes + at, fma(load(y + at), factor, splat(kRound)), kZeroPoint - 127);
    }
    return largest / 254.0f;
}

int draw(const float* y, const float* bias, float multiplier, float sharpness, float uniform) {
    alignas(64) float mass[kClasses];
    const Vec times = splat(multiplier), steep = splat(sharpness * 1.44269504f);
    Vec most = splat(-3e38f);
    for (int at = 0; at < kClasses; at += kLanes) {
        const Vec logit = mul(fma(load(y + at), times, load(bias + at)), steep);
        store(mass + at, logit);
        most = max(logit, most);
    }
    const Vec top = splat(largest_lane(most)), nothing = splat(kQuintic[0] * 0x1p-126f);
    alignas(64) float sums[kLanes];
    for (int at = 0; at < kClasses; at += kLanes) {
        const Vec exponent = max(sub(load(mass + at), top), splat(kLowest));
        store(mass + at, sub(power_of_two(exponent, kQuintic), nothing));
    }
    store(sums, cumulated(sums_of_16(mass)));
    const float target = uniform * sums[kLanes - 1];
    const int group = count_at_most(load(sums), target);
    const float before = group == 0 ? 0.0f : sums[group - 1];
    const Vec inside = add(cumulated(load(mass + kLanes * group)), splat(before));
    return kLanes * group + count_at_most(inside, target);
}

const Kernels kKernels = {kName,       kZeroPoint == 128, product_f32, product_bf16,  product_i8, gates,
                          gates_quick, state_bytes,       rectify,     rectify_bytes, draw};
