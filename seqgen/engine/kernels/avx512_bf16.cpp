// AVX-512 with products of bfloat16 pairs: as AVX-512, but for dense products in bfloat16, two of which are added to a sum
// by one instruction.
#include "kernels/kernels.hpp"

#if defined(__AVX512F__) && defined(__AVX512BF16__)
#include <immintrin.h>

namespace seqgen {
namespace {

constexpr int kRows = 8, kGroups = 3;

inline __m512bh pair(const std::uint16_t* x) {
    int two;
    std::memcpy(&two, x, sizeof two);
    return (__m512bh)_mm512_set1_epi32(two);
}

template <int R, int G>
inline void tile(const Dense& m, std::size_t group, const Rows<const std::uint16_t>& x, const Rows<float>& y) {
    const float* weights[G];
    __m512 sums[R][G];
    for (int g = 0; g < G; ++g) weights[g] = m.weights + (group + g) * m.steps * kSimdWidth;
    for (int r = 0; r < R; ++r) {
        for (int g = 0; g < G; ++g) sums[r][g] = _mm512_setzero_ps();
    }
    for (std::size_t at = 0; at < m.steps; ++at) {
        __m512bh w[G];
        for (int g = 0; g < G; ++g) w[g] = (__m512bh)_mm512_loadu_si512(weights[g] + at * kSimdWidth);
        for (int r = 0; r < R; ++r) {
            const __m512bh value = pair(x.data + r * x.stride + 2 * at);
            for (int g = 0; g < G; ++g) sums[r][g] = _mm512_dpbf16_ps(sums[r][g], w[g], value);
        }
    }
    for (int r = 0; r < R; ++r) {
        for (int g = 0; g < G; ++g) _mm512_storeu_ps(y.data + r * y.stride + (group + g) * kSimdWidth, sums[r][g]);
    }
}

template <int G>
inline void some_groups(const Dense& m, std::size_t group, Rows<const std::uint16_t> x, Rows<float> y,
                        std::size_t rows) {
    for (; rows >= kRows; rows -= kRows, x.data += kRows * x.stride, y.data += kRows * y.stride) {
        tile<kRows, G>(m, group, x, y);
    }
    for (; rows > 0; --rows, x.data += x.stride, y.data += y.stride) tile<1, G>(m, group, x, y);
}

void dense(const Dense& m, Rows<const std::uint16_t> x, Rows<float> y, std::size_t rows) {
    std::size_t group = 0;
    for (; group + kGroups <= m.groups; group += kGroups) some_groups<kGroups>(m, group, x, y, rows);
    for (; group < m.groups; ++group) some_groups<1>(m, group, x, y, rows);
}

}  // namespace

const Kernels* avx512_bf16_kernels() {
    static const Kernels* const here = []() -> const Kernels* {
        static Kernels made;
        if (avx512_kernels() == nullptr || !__builtin_cpu_supports("avx512bf16")) return nullptr;
        made = *avx512_kernels();
        made.name = "avx512bf16";
        made.dense_bf16 = dense;
        return &made;
    }();
    return here;
}

}  // namespace seqgen

#else

const seqgen::Kernels* seqgen::avx512_bf16_kernels() { return nullptr; }

#endif
