// Sums of 16 numbers for the sets of kernels whose instructions have nothing for them; part of those.

// Each 16 numbers added up as a tree: halves, quarters, pairs.
inline Vec sums_of_16(const float* from) {
    alignas(64) float sums[kSimdWidth];
    for (int row = 0; row < kSimdWidth; ++row) sums[row] = tree_sum(from + kSimdWidth * row);
    return load(sums);
}

// Inclusive sums of 16 numbers in four doubling steps.
inline Vec cumulated(const Vec& v) {
    alignas(64) float lane[kSimdWidth];
    store(lane, v);
    for (int step = 1; step < kSimdWidth; step *= 2) {
        for (int i = kSimdWidth - 1; i >= step; --i) lane[i] += lane[i - step];
    }
    return load(lane);
}
