// Vectors of which only the first `count` numbers are there, for the sets of kernels whose instructions have nothing for them:
// beyond those zeros are read, and nothing is written. Part of those.

inline Vec load_some(const float* from, std::size_t count) {
    alignas(64) float lane[kSimdWidth] = {};
    std::memcpy(lane, from, count * sizeof(float));
    return load(lane);
}
inline void store_some(float* to, const Vec& v, std::size_t count) {
    alignas(64) float lane[kSimdWidth];
    store(lane, v);
    std::memcpy(to, lane, count * sizeof(float));
}
