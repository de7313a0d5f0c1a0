// Products of many rows with a matrix of which nothing is left out, kRowsOfTile rows and kGroupsOfTile groups at a time, over
// the vector and the loads of the including file. A Kind is how one vector of weights meets its inputs. Included inside an
// unnamed namespace, as kernel_templates.hpp is.

// A row's sums run over its inputs in their order, whatever rows and groups share the loop.
template <typename Kind, int R, int G>
inline void dense_tile(const Dense& m, std::size_t group, const Rows<const typename Kind::Input>& x,
                       const Rows<float>& y) {
    const float* weights[G];
    Vec sums[R][G];
    for (int g = 0; g < G; ++g) weights[g] = m.weights + (group + g) * m.steps * kSimdWidth;
    for (int r = 0; r < R; ++r) {
        for (int g = 0; g < G; ++g) sums[r][g] = splat(0.0f);
    }
    for (std::size_t at = 0; at < m.steps; ++at) Kind::template step<R, G>(weights, x, at, sums);
    for (int r = 0; r < R; ++r) {
        for (int g = 0; g < G; ++g) store(y.data + r * y.stride + (group + g) * kSimdWidth, sums[r][g]);
    }
}

template <typename Kind, int G>
inline void dense_groups(const Dense& m, std::size_t group, Rows<const typename Kind::Input> x, Rows<float> y,
                         std::size_t rows) {
    std::size_t left = rows;
    const auto next = [&](std::size_t done) {
        x.data += done * x.stride;
        y.data += done * y.stride;
        left -= done;
    };
    for (; left >= kRowsOfTile; next(kRowsOfTile)) dense_tile<Kind, kRowsOfTile, G>(m, group, x, y);
    for (; left > 0; next(1)) dense_tile<Kind, 1, G>(m, group, x, y);
}

// Groups outside, rows inside: what a tile reads of the weights is in the nearest cache for the tiles below it.
template <typename Kind>
void dense(const Dense& m, Rows<const typename Kind::Input> x, Rows<float> y, std::size_t rows) {
    std::size_t group = 0;
    for (; group + kGroupsOfTile <= m.groups; group += kGroupsOfTile) {
        dense_groups<Kind, kGroupsOfTile>(m, group, x, y, rows);
    }
    for (; group < m.groups; ++group) dense_groups<Kind, 1>(m, group, x, y, rows);
}
