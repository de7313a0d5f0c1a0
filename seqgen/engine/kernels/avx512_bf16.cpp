// AVX-512 with products of bfloat16 pairs: as AVX-512, but for dense products in bfloat16, two of which are added to a sum
// by one instruction.
#include "kernels/kernels.hpp"

#if defined(__AVX512F__) && defined(__AVX512BF16__)
#include <immintrin.h>

namespace seqgen {
namespace {

constexpr int kRowsOfTile = 8, kGroupsOfTile = 3;

using Vec = __m512;
inline Vec splat(float value) { return _mm512_set1_ps(value); }
inline void store(float* to, Vec v) { _mm512_storeu_ps(to, v); }

struct NativePairs {
    using Input = std::uint16_t;

    template <int R, int G>
    static void step(const float* const (&weights)[G], const Rows<const std::uint16_t>& x, std::size_t at,
                     Vec (&sums)[R][G]) {
        __m512bh w[G];
        for (int g = 0; g < G; ++g) w[g] = (__m512bh)_mm512_loadu_si512(weights[g] + at * kSimdWidth);
        for (int r = 0; r < R; ++r) {
            int two;
            std::memcpy(&two, x.data + r * x.stride + 2 * at, sizeof two);
            const auto pair = (__m512bh)_mm512_set1_epi32(two);
            for (int g = 0; g < G; ++g) sums[r][g] = _mm512_dpbf16_ps(sums[r][g], w[g], pair);
        }
    }
};

#include "kernels/kernel_dense.hpp"

}  // namespace

const Kernels* avx512_bf16_kernels() {
    static const Kernels* const here = []() -> const Kernels* {
        static Kernels made;
        if (avx512_kernels() == nullptr || !__builtin_cpu_supports("avx512bf16")) return nullptr;
        made = *avx512_kernels();
        made.name = "avx512bf16";
        made.dense_bf16 = dense<NativePairs>;
        return &made;
    }();
    return here;
}

}  // namespace seqgen

#else

const seqgen::Kernels* seqgen::avx512_bf16_kernels() { return nullptr; }

#endif
