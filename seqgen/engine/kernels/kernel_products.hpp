// Products of a matrix, dense, in blocks or in strips, with the activations of some streams; part of
// kernel_templates.hpp.

// Activation `column` of stream s of a tile: strides of up to three fit the processor's addressing, so that eight
// streams take two pointers.
template <typename T>
inline const T* row_of(const T* x, std::size_t stride, int s) {
    const T* base = x + static_cast<std::size_t>(s / 4) * (4 * stride);
    return s % 4 == 0 ? base : s % 4 == 1 ? base + stride : s % 4 == 2 ? base + 2 * stride : base + 3 * stride;
}

// A block of a matrix. Where the next group begins follows from walking through this one, not from the table of groups:
// addresses that wait for a load of their own cost a tenth of the speed.
struct Place {
    const std::uint8_t* weights;
    const std::uint16_t* column;
};

// How the columns of an int8 block are given: one for all 16 rows, or one for each strip of four.
struct Shared {
    static constexpr int kColumns = 1;
    static Quad read(const std::uint8_t* x, const std::uint16_t* column, std::size_t stride, int s) {
        return quad(row_of(x + *column, stride, s));
    }
};
struct Gathered {
    static constexpr int kColumns = 4;
    static Quads read(const std::uint8_t* x, const std::uint16_t* column, std::size_t stride, int s) {
        return quads(row_of(x, stride, s), column);
    }
};

// One group of W x for S streams, which share each block of weights. Even and odd blocks have a sum each: two chains
// hide the latency.
struct Float32 {
    using Number = float;
    static constexpr std::size_t kStripBytes = 4 * kBlockBytes;
    template <int S>
    static void group(const Matrix& m, std::uint32_t group, Place& at, Rows<const float> from, Vec (&made)[S]) {
        const float *weights = reinterpret_cast<const float*>(at.weights), *x = from.data;
        const std::uint16_t* column = at.column;
        Vec even[S], odd[S];
        for (int s = 0; s < S; ++s) even[s] = odd[s] = splat(0.0f);
        std::uint32_t left = m.starts[group + 1] - m.starts[group];
        for (; left >= 2; left -= 2, weights += 2 * kSimdWidth, column += 2) {
            const Vec w0 = load(weights), w1 = load(weights + kSimdWidth);
            const float *x0 = x + column[0], *x1 = x + column[1];
            for (int s = 0; s < S; ++s) even[s] = fma(w0, splat(*row_of(x0, from.stride, s)), even[s]);
            for (int s = 0; s < S; ++s) odd[s] = fma(w1, splat(*row_of(x1, from.stride, s)), odd[s]);
        }
        if (left > 0) {
            const Vec w = load(weights);
            for (int s = 0; s < S; ++s) even[s] = fma(w, splat(*row_of(x + *column, from.stride, s)), even[s]);
            weights += kSimdWidth;
            ++column;
        }
        at = {reinterpret_cast<const std::uint8_t*>(weights), column};
        for (int s = 0; s < S; ++s) made[s] = add(even[s], odd[s]);
    }

    // The same for G groups of a dense matrix and one stream: more chains, which share each activation.
    template <int G>
    static void groups(const Matrix& m, std::uint32_t group, const float* x, float* y) {
        const std::size_t apart = std::size_t{m.dense} * kSimdWidth;
        const float* weights = reinterpret_cast<const float*>(m.weights) + group * apart;
        Vec even[G], odd[G];
        for (int g = 0; g < G; ++g) even[g] = odd[g] = splat(0.0f);
        std::uint32_t left = m.dense;
        for (; left >= 2; left -= 2, weights += 2 * kSimdWidth, x += 2) {
            const Vec x0 = splat(x[0]), x1 = splat(x[1]);
            for (int g = 0; g < G; ++g) even[g] = fma(load(weights + g * apart), x0, even[g]);
            for (int g = 0; g < G; ++g) odd[g] = fma(load(weights + g * apart + kSimdWidth), x1, odd[g]);
        }
        for (int g = 0; g < G && left > 0; ++g) even[g] = fma(load(weights + g * apart), splat(*x), even[g]);
        for (int g = 0; g < G; ++g) store(y + (group + g) * kSimdWidth, add(even[g], odd[g]));
    }

    template <int S>
    static void strips(const Matrix& m, std::uint32_t group, Place& at, Rows<const float> from, Vec (&made)[S]) {
        const float* weights = reinterpret_cast<const float*>(at.weights);
        const std::uint16_t* column = at.column;
        Vec even[S], odd[S];
        for (int s = 0; s < S; ++s) even[s] = odd[s] = splat(0.0f);
        for (std::uint32_t left = m.starts[group + 1] - m.starts[group]; left > 0; --left) {
            const Vec w0 = load(weights), w1 = load(weights + kSimdWidth);
            const Vec w2 = load(weights + 2 * kSimdWidth), w3 = load(weights + 3 * kSimdWidth);
            for (int s = 0; s < S; ++s) {
                const Vec x = quarters(row_of(from.data, from.stride, s), column);
                even[s] = fma(w2, spread<2>(x), fma(w0, spread<0>(x), even[s]));
                odd[s] = fma(w3, spread<3>(x), fma(w1, spread<1>(x), odd[s]));
            }
            weights += 4 * kSimdWidth;
            column += Gathered::kColumns;
        }
        at = {reinterpret_cast<const std::uint8_t*>(weights), column};
        for (int s = 0; s < S; ++s) made[s] = add(even[s], odd[s]);
    }
};

struct BFloat16 {
    using Number = float;
    static constexpr std::size_t kStripBytes = 2 * kBlockBytes;
    template <int S>
    static void group(const Matrix& m, std::uint32_t group, Place& at, Rows<const float> from, Vec (&made)[S]) {
        auto [weights, column] = at;
        Vec even[S], odd[S];
        for (int s = 0; s < S; ++s) even[s] = odd[s] = splat(0.0f);
        const std::uint32_t blocks = m.starts[group + 1] - m.starts[group];
        for (std::uint32_t block = 0; block < blocks; ++block, weights += kBlockBytes, ++column) {
            const Vec w0 = low_halves(weights), w1 = high_halves(weights);
            const float* x = from.data + *column;
            for (int s = 0; s < S; ++s) {
                even[s] = fma(w0, splat(row_of(x, from.stride, s)[0]), even[s]);
                odd[s] = fma(w1, splat(row_of(x, from.stride, s)[1]), odd[s]);
            }
        }
        at = {weights, column};
        for (int s = 0; s < S; ++s) made[s] = add(even[s], odd[s]);
    }

    template <int G>
    static void groups(const Matrix& m, std::uint32_t group, const float* x, float* y) {
        const std::size_t apart = m.dense * kBlockBytes;
        const std::uint8_t* weights = m.weights + group * apart;
        Vec even[G], odd[G];
        for (int g = 0; g < G; ++g) even[g] = odd[g] = splat(0.0f);
        for (std::uint32_t block = 0; block < m.dense; ++block, weights += kBlockBytes, x += 2) {
            const Vec x0 = splat(x[0]), x1 = splat(x[1]);
            for (int g = 0; g < G; ++g) even[g] = fma(low_halves(weights + g * apart), x0, even[g]);
            for (int g = 0; g < G; ++g) odd[g] = fma(high_halves(weights + g * apart), x1, odd[g]);
        }
        for (int g = 0; g < G; ++g) store(y + (group + g) * kSimdWidth, add(even[g], odd[g]));
    }

    template <int S>
    static void strips(const Matrix& m, std::uint32_t group, Place& at, Rows<const float> from, Vec (&made)[S]) {
        auto [weights, column] = at;
        Vec even[S], odd[S];
        for (int s = 0; s < S; ++s) even[s] = odd[s] = splat(0.0f);
        for (std::uint32_t left = m.starts[group + 1] - m.starts[group]; left > 0; --left) {
            const Vec w0 = low_halves(weights), w1 = high_halves(weights);
            const Vec w2 = low_halves(weights + kBlockBytes), w3 = high_halves(weights + kBlockBytes);
            for (int s = 0; s < S; ++s) {
                const Vec x = quarters(row_of(from.data, from.stride, s), column);
                even[s] = fma(w2, spread<2>(x), fma(w0, spread<0>(x), even[s]));
                odd[s] = fma(w3, spread<3>(x), fma(w1, spread<1>(x), odd[s]));
            }
            weights += 2 * kBlockBytes;
            column += Gathered::kColumns;
        }
        at = {weights, column};
        for (int s = 0; s < S; ++s) made[s] = add(even[s], odd[s]);
    }
};

struct Int8 {
    using Number = std::uint8_t;
    static constexpr std::size_t kStripBytes = kBlockBytes;
    template <typename Columns, int S>
    static void sum(const Matrix& m, std::uint32_t group, Place& at, Rows<const std::uint8_t> from, Vec (&made)[S]) {
        auto [weights, column] = at;
        const auto read = [&](const std::uint16_t* at, int s) { return Columns::read(from.data, at, from.stride, s); };
        Sum even[S], odd[S];
        for (int s = 0; s < S; ++s) even[s] = load_sum(m.base + group * kSimdWidth), odd[s] = no_sum();
        std::uint32_t left = m.starts[group + 1] - m.starts[group];
        for (; left >= 2; left -= 2, weights += 2 * kBlockBytes, column += 2 * Columns::kColumns) {
            const Block w0 = load_block(weights), w1 = load_block(weights + kBlockBytes);
            for (int s = 0; s < S; ++s) even[s] = dot(even[s], w0, read(column, s));
            for (int s = 0; s < S; ++s) odd[s] = dot(odd[s], w1, read(column + Columns::kColumns, s));
        }
        if (left > 0) {
            const Block w = load_block(weights);
            for (int s = 0; s < S; ++s) even[s] = dot(even[s], w, read(column, s));
            weights += kBlockBytes;
            column += Columns::kColumns;
        }
        at = {weights, column};
        const Vec scale = load(m.scale + group * kSimdWidth);
        for (int s = 0; s < S; ++s) made[s] = mul(to_float(even[s], odd[s]), scale);
    }

    template <int S>
    static void group(const Matrix& m, std::uint32_t group, Place& at, Rows<const std::uint8_t> from, Vec (&made)[S]) {
        sum<Shared>(m, group, at, from, made);
    }

    // Whole numbers may be added up in any order, so that G groups need no second sum each to hide the latency.
    template <int G>
    static void groups(const Matrix& m, std::uint32_t group, const std::uint8_t* x, float* y) {
        const std::size_t apart = m.dense * kBlockBytes;
        const std::uint8_t* weights = m.weights + group * apart;
        Sum sum[G];
        for (int g = 0; g < G; ++g) sum[g] = load_sum(m.base + (group + g) * kSimdWidth);
        for (std::uint32_t block = 0; block < m.dense; ++block, weights += kBlockBytes, x += 4) {
            const Quad four = quad(x);
            for (int g = 0; g < G; ++g) sum[g] = dot(sum[g], load_block(weights + g * apart), four);
        }
        for (int g = 0; g < G; ++g) {
            const std::size_t row = (group + g) * kSimdWidth;
            store(y + row, mul(to_float(sum[g], no_sum()), load(m.scale + row)));
        }
    }

    template <int S>
    static void strips(const Matrix& m, std::uint32_t group, Place& at, Rows<const std::uint8_t> from, Vec (&made)[S]) {
        sum<Gathered>(m, group, at, from, made);
    }
};

template <typename Form, int S>
inline void tile(const Matrix& m, Span groups, Rows<const typename Form::Number> x, Rows<float> y) {
    const std::uint32_t first = m.starts[groups.first];
    Place at = {m.weights + std::size_t{first} * kBlockBytes, m.columns + first};
    for (std::uint32_t group = groups.first; group < groups.last; ++group) {
        Vec made[S];
        Form::group(m, group, at, x, made);
        for (int s = 0; s < S; ++s) store(y.data + s * y.stride + group * kSimdWidth, made[s]);
    }
}

// A dense matrix for one stream, kDense groups at a time in int8 and kDenseFloats, which have two sums each, otherwise.
template <typename Form>
inline void dense_product(const Matrix& m, Span groups, const typename Form::Number* x, float* y) {
    constexpr int kGroups = std::is_same<Form, Int8>::value ? kDense : kDenseFloats;
    std::uint32_t group = groups.first;
    for (; group + kGroups <= groups.last; group += kGroups) Form::template groups<kGroups>(m, group, x, y);
    for (; group < groups.last; ++group) Form::template groups<1>(m, group, x, y);
}

template <typename Form, int S>
inline void tile_of_strips(const Matrix& m, Span groups, Rows<const typename Form::Number> x, Rows<float> y) {
    const std::uint32_t first = m.starts[groups.first];
    Place at = {m.weights + std::size_t{first} * Form::kStripBytes, m.columns + first * Gathered::kColumns};
    for (std::uint32_t group = groups.first; group < groups.last; ++group) {
        Vec made[S];
        Form::strips(m, group, at, x, made);
        for (int s = 0; s < S; ++s) store_quarters(y.data + s * y.stride, m.strips + group * 4, made[s]);
    }
}

// Streams in tiles of kTile, the rest in twos and one.
template <typename Number, typename Tile>
inline void each_tile(Rows<const Number> x, Rows<float> y, int streams, Tile&& tile) {
    const auto run = [&](auto count) {
        tile(count, x, y);
        streams -= count;
        x.data += count * x.stride;
        y.data += count * y.stride;
    };
    while (streams >= kTile) run(std::integral_constant<int, kTile>());
    while (streams >= 2) run(std::integral_constant<int, 2>());
    if (streams > 0) run(std::integral_constant<int, 1>());
}

template <typename Form>
void product(const Matrix& m, Span groups, Rows<const typename Form::Number> x, Rows<float> y, int streams) {
    if (m.strips != nullptr) {
        return each_tile(x, y, streams, [&](auto count, auto from, auto to) {
            tile_of_strips<Form, decltype(count)::value>(m, groups, from, to);
        });
    }
    if (m.dense > 0 && streams == 1) return dense_product<Form>(m, groups, x.data, y.data);
    each_tile(x, y, streams,
              [&](auto count, auto from, auto to) { tile<Form, decltype(count)::value>(m, groups, from, to); });
}
