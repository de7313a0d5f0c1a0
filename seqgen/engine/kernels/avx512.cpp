// AVX-512 with VNNI: a vector is one register, a block of int8 weights one vpdpbusd.
#include "kernels/kernels.hpp"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VNNI__)
#include <immintrin.h>

#include <cmath>
#include <cstring>
#include <type_traits>

namespace seqgen {
namespace {

constexpr char kName[] = "avx512";
constexpr int kZeroPoint = 128;  // vpdpbusd takes its activations unsigned
constexpr int kTile = 8;
constexpr int kDense = 4, kDenseFloats = 4;
constexpr int kTogether = 4;
constexpr int kRowsOfTile = 8, kGroupsOfTile = 2;  // of a dense product: their sums fill the registers

using Vec = __m512;
using Sum = __m512i;
using Block = __m512i;
using Quad = __m512i;
using Quads = __m512i;

inline Vec load(const float* from) { return _mm512_loadu_ps(from); }
inline Vec splat(float value) { return _mm512_set1_ps(value); }
inline void store(float* to, Vec v) { _mm512_storeu_ps(to, v); }
inline void store_past_caches(float* to, Vec v) { _mm512_stream_ps(to, v); }
inline Vec add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
inline Vec sub(Vec a, Vec b) { return _mm512_sub_ps(a, b); }
inline Vec mul(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
inline Vec div(Vec a, Vec b) { return _mm512_div_ps(a, b); }
inline Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
inline Vec max(Vec a, Vec b) { return _mm512_max_ps(a, b); }
inline Vec min(Vec a, Vec b) { return _mm512_min_ps(a, b); }

inline Vec shift_exponent(Vec value, Vec whole) {
    const __m512i exponent = _mm512_slli_epi32(_mm512_castps_si512(whole), 23);
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(value), exponent));
}

inline Vec magnitude(Vec v) { return _mm512_abs_ps(v); }

// |v|, at most `most`.
inline Vec limited(Vec v, float most) { return _mm512_range_ps(v, _mm512_set1_ps(most), 0xA); }

// v less the nearest whole number.
inline Vec beyond(Vec v, Vec) { return _mm512_reduce_ps(v, 0); }

// `size`, which is not negative, with the sign of `of`.
inline Vec with_sign(Vec size, Vec of) {
    const __m512i sign = _mm512_set1_epi32(static_cast<int>(0x80000000u));
    // 0xF8: size | (of & sign)
    return _mm512_castsi512_ps(
        _mm512_ternarylogic_epi32(_mm512_castps_si512(size), _mm512_castps_si512(of), sign, 0xF8));
}

// Of 16 numbers the one at the whole number in the low bits of each lane.
inline Vec pick(const float* table, Vec whole) {
    return _mm512_permutexvar_ps(_mm512_castps_si512(whole), _mm512_load_ps(table));
}

inline void store_bytes(std::uint8_t* to, Vec whole, int offset) {
    const __m512i moved = _mm512_add_epi32(_mm512_castps_si512(whole), _mm512_set1_epi32(offset));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtepi32_epi8(moved));
}

inline float largest_element(Vec v) { return _mm512_reduce_max_ps(v); }

// Of two vectors the sums of lanes that lie half a register, a quarter, two lanes or one lane apart.
template <int Low, int High>
inline Vec fold_quarters(Vec a, Vec b) {
    return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, Low), _mm512_shuffle_f32x4(a, b, High));
}
template <int Low, int High>
inline Vec fold_lanes(Vec a, Vec b) {
    return _mm512_add_ps(_mm512_shuffle_ps(a, b, Low), _mm512_shuffle_ps(a, b, High));
}

// Each 16 numbers added up as a tree: halves, quarters, pairs. All 16 trees share the additions.
inline Vec sums_of_16(const float* from) {
    Vec eight[8], four[4];
    for (int i = 0; i < 8; ++i) eight[i] = fold_quarters<0x44, 0xEE>(load(from + 32 * i), load(from + 32 * i + 16));
    for (int i = 0; i < 4; ++i) four[i] = fold_quarters<0x88, 0xDD>(eight[2 * i], eight[2 * i + 1]);
    const Vec even = fold_lanes<0x44, 0xEE>(four[0], four[1]), odd = fold_lanes<0x44, 0xEE>(four[2], four[3]);
    const Vec sums = fold_lanes<0x88, 0xDD>(even, odd);
    // Row 4 j + q stands in lane 4 q + j.
    return _mm512_permutexvar_ps(_mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0), sums);
}

// Inclusive sums of 16 numbers in four doubling steps.
inline Vec cumulated(Vec v) {
    const auto shifted = [](Vec from, auto lanes) {
        constexpr int kShift = 16 - decltype(lanes)::value;
        return _mm512_castsi512_ps(_mm512_alignr_epi32(_mm512_castps_si512(from), _mm512_setzero_si512(), kShift));
    };
    v = _mm512_add_ps(v, shifted(v, std::integral_constant<int, 1>()));
    v = _mm512_add_ps(v, shifted(v, std::integral_constant<int, 2>()));
    v = _mm512_add_ps(v, shifted(v, std::integral_constant<int, 4>()));
    return _mm512_add_ps(v, shifted(v, std::integral_constant<int, 8>()));
}

// How many of the first 15 lanes are at most `limit`.
inline int count_at_most(Vec v, float limit) {
    return __builtin_popcount(_mm512_cmp_ps_mask(v, _mm512_set1_ps(limit), _CMP_LE_OQ) & 0x7FFFu);
}

// Four numbers from each column on: a quarter of the lanes from each.
inline Vec quarters(const float* from, const std::uint16_t* columns) {
    const auto pair = [&](int i) {
        const __m128 low = _mm_loadu_ps(from + columns[i]), high = _mm_loadu_ps(from + columns[i + 1]);
        return _mm256_insertf128_ps(_mm256_castps128_ps256(low), high, 1);
    };
    return _mm512_insertf32x8(_mm512_castps256_ps512(pair(0)), pair(2), 1);
}
// In each quarter its number K.
template <int K>
inline Vec spread(Vec v) {
    return _mm512_permute_ps(v, K * 0x55);
}
inline void store_quarters(float* to, const std::uint32_t* rows, Vec v) {
    _mm_storeu_ps(to + rows[0], _mm512_castps512_ps128(v));
    _mm_storeu_ps(to + rows[1], _mm512_extractf32x4_ps(v, 1));
    _mm_storeu_ps(to + rows[2], _mm512_extractf32x4_ps(v, 2));
    _mm_storeu_ps(to + rows[3], _mm512_extractf32x4_ps(v, 3));
}

inline Sum load_sum(const std::int32_t* from) { return _mm512_loadu_si512(from); }
inline Sum no_sum() { return _mm512_setzero_si512(); }
inline Block load_block(const std::uint8_t* weights) { return _mm512_loadu_si512(weights); }
inline Quad quad(const std::uint8_t* x) {
    int four;
    std::memcpy(&four, x, sizeof four);
    return _mm512_set1_epi32(four);
}
// Four activations from each column on, for a strip each. One load has all columns: loads are what a block costs.
inline Quads quads(const std::uint8_t* x, const std::uint16_t* columns) {
    std::uint64_t four;
    std::memcpy(&four, columns, sizeof four);
    const auto splat = [&](std::uint64_t column) {
        int made;
        std::memcpy(&made, x + (column & 0xFFFF), sizeof made);
        return _mm256_set1_epi32(made);
    };
    const __m256i low = _mm256_blend_epi32(splat(four), splat(four >> 16), 0xF0);
    const __m256i high = _mm256_blend_epi32(splat(four >> 32), splat(four >> 48), 0xF0);
    return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}
inline Sum dot(Sum sum, Block block, Quad x) {
    // The intrinsic makes GCC 12 copy the sum to another register and back around every instruction.
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(x), "v"(block));
    return sum;
}
inline Vec to_float(Sum a, Sum b) { return _mm512_cvtepi32_ps(_mm512_add_epi32(a, b)); }

inline Vec low_halves(const std::uint8_t* weights) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512(weights), 16));
}
inline Vec high_halves(const std::uint8_t* weights) {
    const __m512i high = _mm512_set1_epi32(static_cast<int>(0xFFFF0000u));
    return _mm512_castsi512_ps(_mm512_and_si512(_mm512_loadu_si512(weights), high));
}

inline __mmask16 first_of(std::size_t count) { return static_cast<__mmask16>((1u << count) - 1); }
inline Vec load_some(const float* from, std::size_t count) { return _mm512_maskz_loadu_ps(first_of(count), from); }
inline void store_some(float* to, Vec v, std::size_t count) { _mm512_mask_storeu_ps(to, first_of(count), v); }

inline Vec load_halves(const std::uint16_t* from) {
    const __m256i halves = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}
inline void store_halves(std::uint16_t* to, Vec v) {
    const __m512i bits = _mm512_castps_si512(v);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i made = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7FFF)), odd);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtepi32_epi16(_mm512_srli_epi32(made, 16)));
}

#include "kernels/kernel_templates.hpp"

}  // namespace

const Kernels* avx512_kernels() {
    const bool here = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vnni");
    return here ? &kKernels : nullptr;
}

}  // namespace seqgen

#else

const seqgen::Kernels* seqgen::avx512_kernels() { return nullptr; }

#endif
