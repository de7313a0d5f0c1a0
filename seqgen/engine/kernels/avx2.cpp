// AVX2 with FMA: a vector is two registers.
#include "kernels/kernels.hpp"

#if defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>

#include <cmath>
#include <cstring>
#include <type_traits>

namespace seqgen {
namespace {

constexpr char kName[] = "avx2";
constexpr int kZeroPoint = 0;
constexpr int kTile = 2;  // more sums than this do not fit 16 registers
constexpr int kDense = 4, kDenseFloats = 2;
constexpr int kTogether = 2;
constexpr int kRowsOfTile = 4, kGroupsOfTile = 1;  // of a dense product: their sums fill the registers

struct Vec {
    __m256 low, high;
};
struct Sum {
    __m256i low, high;
};
struct Block {
    __m256i low, high;
};
struct Quad {
    __m256i value, magnitude;
};
struct Quads {
    Quad low, high;
};

inline Vec load(const float* from) { return {_mm256_loadu_ps(from), _mm256_loadu_ps(from + 8)}; }
inline Vec splat(float value) { return {_mm256_set1_ps(value), _mm256_set1_ps(value)}; }
inline void store(float* to, Vec v) {
    _mm256_storeu_ps(to, v.low);
    _mm256_storeu_ps(to + 8, v.high);
}
inline void store_past_caches(float* to, Vec v) {
    _mm256_stream_ps(to, v.low);
    _mm256_stream_ps(to + 8, v.high);
}
inline Vec add(Vec a, Vec b) { return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)}; }
inline Vec sub(Vec a, Vec b) { return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)}; }
inline Vec mul(Vec a, Vec b) { return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)}; }
inline Vec div(Vec a, Vec b) { return {_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)}; }
inline Vec fma(Vec a, Vec b, Vec c) {
    return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}
inline Vec max(Vec a, Vec b) { return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)}; }
inline Vec min(Vec a, Vec b) { return {_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high)}; }

inline __m256 shift_half(__m256 value, __m256 whole) {
    const __m256i exponent = _mm256_slli_epi32(_mm256_castps_si256(whole), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(value), exponent));
}
inline Vec shift_exponent(Vec value, Vec whole) {
    return {shift_half(value.low, whole.low), shift_half(value.high, whole.high)};
}

inline __m256 sign_bits() { return _mm256_set1_ps(-0.0f); }
inline Vec magnitude(Vec v) { return {_mm256_andnot_ps(sign_bits(), v.low), _mm256_andnot_ps(sign_bits(), v.high)}; }

// |v|, at most `most`.
inline Vec limited(Vec v, float most) { return min(magnitude(v), splat(most)); }

// v less the nearest whole number, `whole` being v + kRound.
inline Vec beyond(Vec v, Vec whole) { return sub(v, sub(whole, splat(kRound))); }

// `size`, which is not negative, with the sign of `of`.
inline Vec with_sign(Vec size, Vec of) {
    return {_mm256_or_ps(size.low, _mm256_and_ps(sign_bits(), of.low)),
            _mm256_or_ps(size.high, _mm256_and_ps(sign_bits(), of.high))};
}

// Of 16 numbers the one at the whole number in the low bits of each lane: bit 3 tells the halves apart.
inline __m256 pick_half(const float* table, __m256 whole) {
    const __m256i index = _mm256_castps_si256(whole);
    const __m256 low = _mm256_permutevar8x32_ps(_mm256_load_ps(table), index);
    const __m256 high = _mm256_permutevar8x32_ps(_mm256_load_ps(table + 8), index);
    return _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(index, 28)));
}
inline Vec pick(const float* table, Vec whole) { return {pick_half(table, whole.low), pick_half(table, whole.high)}; }

inline void store_bytes(std::uint8_t* to, Vec whole, int offset) {
    const __m256i add = _mm256_set1_epi32(offset), low_byte = _mm256_set1_epi32(0xFF);
    const __m256i a = _mm256_and_si256(_mm256_add_epi32(_mm256_castps_si256(whole.low), add), low_byte);
    const __m256i b = _mm256_and_si256(_mm256_add_epi32(_mm256_castps_si256(whole.high), add), low_byte);
    // Packing works within halves of a register; the permutation puts the four quarters back in order.
    const __m256i words = _mm256_permute4x64_epi64(_mm256_packus_epi32(a, b), 0xD8);
    const __m128i bytes = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), bytes);
}

inline float largest_element(Vec v) {
    const __m256 eight = _mm256_max_ps(v.low, v.high);
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    four = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(four, _mm_movehdup_ps(four)));
}

inline float tree_sum(const float* from) {
    const __m256 eight = _mm256_add_ps(_mm256_loadu_ps(from), _mm256_loadu_ps(from + 8));
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    four = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
}

#include "kernels/kernel_sums.hpp"

// How many of the first 15 lanes are at most `limit`.
inline int count_at_most(Vec v, float limit) {
    const __m256 most = _mm256_set1_ps(limit);
    const int low = _mm256_movemask_ps(_mm256_cmp_ps(v.low, most, _CMP_LE_OQ));
    const int high = _mm256_movemask_ps(_mm256_cmp_ps(v.high, most, _CMP_LE_OQ)) & 0x7F;
    return __builtin_popcount(static_cast<unsigned>(low | high << 8));
}

// Four numbers from each column on: a quarter of the lanes from each.
inline __m256 two_quarters(const float* from, const std::uint16_t* columns) {
    const __m128 low = _mm_loadu_ps(from + columns[0]), high = _mm_loadu_ps(from + columns[1]);
    return _mm256_insertf128_ps(_mm256_castps128_ps256(low), high, 1);
}
inline Vec quarters(const float* from, const std::uint16_t* columns) {
    return {two_quarters(from, columns), two_quarters(from, columns + 2)};
}
// In each quarter its number K.
template <int K>
inline Vec spread(Vec v) {
    return {_mm256_permute_ps(v.low, K * 0x55), _mm256_permute_ps(v.high, K * 0x55)};
}
inline void store_quarters(float* to, const std::uint32_t* rows, Vec v) {
    _mm_storeu_ps(to + rows[0], _mm256_castps256_ps128(v.low));
    _mm_storeu_ps(to + rows[1], _mm256_extractf128_ps(v.low, 1));
    _mm_storeu_ps(to + rows[2], _mm256_castps256_ps128(v.high));
    _mm_storeu_ps(to + rows[3], _mm256_extractf128_ps(v.high, 1));
}

inline __m256i load_half(const void* from) { return _mm256_loadu_si256(static_cast<const __m256i*>(from)); }
inline Sum load_sum(const std::int32_t* from) { return {load_half(from), load_half(from + 8)}; }
inline Sum no_sum() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
inline Block load_block(const std::uint8_t* weights) { return {load_half(weights), load_half(weights + 32)}; }
inline __m256i splat_four(const std::uint8_t* x) {
    int four;
    std::memcpy(&four, x, sizeof four);
    return _mm256_set1_epi32(four);
}
inline Quad quad(const std::uint8_t* x) {
    const __m256i value = splat_four(x);
    return {value, _mm256_abs_epi8(value)};
}
// Four activations from each column on, for a strip each.
inline Quad two_quads(const std::uint8_t* x, const std::uint16_t* columns) {
    const __m256i value = _mm256_blend_epi32(splat_four(x + columns[0]), splat_four(x + columns[1]), 0xF0);
    return {value, _mm256_abs_epi8(value)};
}
inline Quads quads(const std::uint8_t* x, const std::uint16_t* columns) {
    return {two_quads(x, columns), two_quads(x, columns + 2)};
}

// vpmaddubsw multiplies unsigned by signed and saturates at 16 bits: |x| * (w with the sign of x) stays below, since
// neither is ever -128 and 2 * 127 * 127 < 2^15.
inline __m256i dot_half(__m256i sum, __m256i weights, Quad x) {
    const __m256i pairs = _mm256_maddubs_epi16(x.magnitude, _mm256_sign_epi8(weights, x.value));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
inline Sum dot(Sum sum, Block block, Quad x) {
    return {dot_half(sum.low, block.low, x), dot_half(sum.high, block.high, x)};
}
inline Sum dot(Sum sum, Block block, Quads x) {
    return {dot_half(sum.low, block.low, x.low), dot_half(sum.high, block.high, x.high)};
}
inline Vec to_float(Sum a, Sum b) {
    return {_mm256_cvtepi32_ps(_mm256_add_epi32(a.low, b.low)), _mm256_cvtepi32_ps(_mm256_add_epi32(a.high, b.high))};
}

inline Vec low_halves(const std::uint8_t* weights) {
    return {_mm256_castsi256_ps(_mm256_slli_epi32(load_half(weights), 16)),
            _mm256_castsi256_ps(_mm256_slli_epi32(load_half(weights + 32), 16))};
}
inline Vec high_halves(const std::uint8_t* weights) {
    const __m256i high = _mm256_set1_epi32(static_cast<int>(0xFFFF0000u));
    return {_mm256_castsi256_ps(_mm256_and_si256(load_half(weights), high)),
            _mm256_castsi256_ps(_mm256_and_si256(load_half(weights + 32), high))};
}

#include "kernels/kernel_some.hpp"

inline Vec load_halves(const std::uint16_t* from) {
    const auto part = [&](int at) {
        const __m128i eight = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + at));
        return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(eight), 16));
    };
    return {part(0), part(8)};
}
inline void store_halves(std::uint16_t* to, Vec v) {
    const auto upper = [](__m256 given) {
        const __m256i bits = _mm256_castps_si256(given);
        const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
        return _mm256_srli_epi32(_mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7FFF)), odd), 16);
    };
    const __m256i both = _mm256_packus_epi32(upper(v.low), upper(v.high));  // quarters of low and high in turn
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm256_permute4x64_epi64(both, 0xD8));
}

#include "kernels/kernel_templates.hpp"

}  // namespace

const Kernels* avx2_kernels() {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? &kKernels : nullptr;
}

}  // namespace seqgen

#else

const seqgen::Kernels* seqgen::avx2_kernels() { return nullptr; }

#endif
