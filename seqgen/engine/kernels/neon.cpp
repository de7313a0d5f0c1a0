// AArch64 with the dot-product extension: a vector is four registers.
#include "kernels/kernels.hpp"

#if defined(__aarch64__) && defined(__ARM_FEATURE_DOTPROD)
#include <arm_neon.h>

#if defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#include <cmath>
#include <cstring>
#include <type_traits>

namespace seqgen {
namespace {

constexpr char kName[] = "neon";
constexpr int kZeroPoint = 0;
constexpr int kTile = 2;
constexpr int kDense = 4, kDenseFloats = 2;
constexpr int kTogether = 2;
constexpr int kRowsOfTile = 4, kGroupsOfTile = 1;  // of a dense product: their sums fill the registers

struct Vec {
    float32x4_t part[4];
};
struct Sum {
    int32x4_t part[4];
};
struct Block {
    int8x16_t part[4];
};
using Quad = int8x16_t;
struct Quads {
    int8x16_t part[4];
};

template <typename F>
inline Vec each(F function) {
    return {{function(0), function(1), function(2), function(3)}};
}

inline Vec load(const float* from) {
    return each([&](int i) { return vld1q_f32(from + 4 * i); });
}
inline Vec splat(float value) {
    return each([&](int) { return vdupq_n_f32(value); });
}
inline void store(float* to, const Vec& v) {
    for (int i = 0; i < 4; ++i) vst1q_f32(to + 4 * i, v.part[i]);
}
inline void store_past_caches(float* to, const Vec& v) { store(to, v); }
inline Vec add(const Vec& a, const Vec& b) {
    return each([&](int i) { return vaddq_f32(a.part[i], b.part[i]); });
}
inline Vec sub(const Vec& a, const Vec& b) {
    return each([&](int i) { return vsubq_f32(a.part[i], b.part[i]); });
}
inline Vec mul(const Vec& a, const Vec& b) {
    return each([&](int i) { return vmulq_f32(a.part[i], b.part[i]); });
}
inline Vec div(const Vec& a, const Vec& b) {
    return each([&](int i) { return vdivq_f32(a.part[i], b.part[i]); });
}
inline Vec fma(const Vec& a, const Vec& b, const Vec& c) {
    return each([&](int i) { return vfmaq_f32(c.part[i], a.part[i], b.part[i]); });
}
inline Vec max(const Vec& a, const Vec& b) {
    return each([&](int i) { return vmaxq_f32(a.part[i], b.part[i]); });
}
inline Vec min(const Vec& a, const Vec& b) {
    return each([&](int i) { return vminq_f32(a.part[i], b.part[i]); });
}

inline Vec shift_exponent(const Vec& value, const Vec& whole) {
    return each([&](int i) {
        const int32x4_t exponent = vshlq_n_s32(vreinterpretq_s32_f32(whole.part[i]), 23);
        return vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(value.part[i]), exponent));
    });
}

inline Vec magnitude(const Vec& v) {
    return each([&](int i) { return vabsq_f32(v.part[i]); });
}

// |v|, at most `most`.
inline Vec limited(const Vec& v, float most) { return min(magnitude(v), splat(most)); }

// v less the nearest whole number, `whole` being v + kRound.
inline Vec beyond(const Vec& v, const Vec& whole) { return sub(v, sub(whole, splat(kRound))); }

// `size`, which is not negative, with the sign of `of`.
inline Vec with_sign(const Vec& size, const Vec& of) {
    return each([&](int i) { return vbslq_f32(vdupq_n_u32(0x80000000u), of.part[i], size.part[i]); });
}

// Of 16 numbers the one at the whole number in the low bits of each lane: four bytes of a table of 64.
inline Vec pick(const float* table, const Vec& whole) {
    const uint8x16x4_t bytes = vld1q_u8_x4(reinterpret_cast<const std::uint8_t*>(table));
    return each([&](int i) {
        const uint32x4_t index = vandq_u32(vreinterpretq_u32_f32(whole.part[i]), vdupq_n_u32(15));
        const uint32x4_t places = vmlaq_u32(vdupq_n_u32(0x03020100u), index, vdupq_n_u32(0x04040404u));
        return vreinterpretq_f32_u8(vqtbl4q_u8(bytes, vreinterpretq_u8_u32(places)));
    });
}

inline void store_bytes(std::uint8_t* to, const Vec& whole, int offset) {
    uint16x4_t words[4];
    for (int i = 0; i < 4; ++i) {
        const int32x4_t moved = vaddq_s32(vreinterpretq_s32_f32(whole.part[i]), vdupq_n_s32(offset));
        words[i] = vmovn_u32(vreinterpretq_u32_s32(moved));
    }
    vst1_u8(to, vmovn_u16(vcombine_u16(words[0], words[1])));
    vst1_u8(to + 8, vmovn_u16(vcombine_u16(words[2], words[3])));
}

inline float largest_element(const Vec& v) {
    return vmaxvq_f32(vmaxq_f32(vmaxq_f32(v.part[0], v.part[1]), vmaxq_f32(v.part[2], v.part[3])));
}

inline float tree_sum(const float* from) {
    const float32x4_t low = vaddq_f32(vld1q_f32(from), vld1q_f32(from + 8));
    const float32x4_t high = vaddq_f32(vld1q_f32(from + 4), vld1q_f32(from + 12));
    const float32x4_t four = vaddq_f32(low, high);
    const float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
    return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}

#include "kernels/kernel_sums.hpp"

// How many of the first 15 lanes are at most `limit`.
inline int count_at_most(const Vec& v, float limit) {
    float lane[kSimdWidth];
    store(lane, v);
    int count = 0;
    for (int i = 0; i < kSimdWidth - 1; ++i) count += lane[i] <= limit;
    return count;
}

// Four numbers from each column on: a quarter of the lanes from each.
inline Vec quarters(const float* from, const std::uint16_t* columns) {
    return each([&](int i) { return vld1q_f32(from + columns[i]); });
}
// In each quarter its number K.
template <int K>
inline Vec spread(const Vec& v) {
    return each([&](int i) { return vdupq_laneq_f32(v.part[i], K); });
}
inline void store_quarters(float* to, const std::uint32_t* rows, const Vec& v) {
    for (int i = 0; i < 4; ++i) vst1q_f32(to + rows[i], v.part[i]);
}

inline Sum load_sum(const std::int32_t* from) {
    return {{vld1q_s32(from), vld1q_s32(from + 4), vld1q_s32(from + 8), vld1q_s32(from + 12)}};
}
inline Sum no_sum() { return {{vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0)}}; }
inline Block load_block(const std::uint8_t* weights) {
    const std::int8_t* from = reinterpret_cast<const std::int8_t*>(weights);
    return {{vld1q_s8(from), vld1q_s8(from + 16), vld1q_s8(from + 32), vld1q_s8(from + 48)}};
}
inline Quad quad(const std::uint8_t* x) {
    std::int32_t four;
    std::memcpy(&four, x, sizeof four);
    return vreinterpretq_s8_s32(vdupq_n_s32(four));
}
inline Sum dot(const Sum& sum, const Block& block, Quad x) {
    Sum made;
    for (int i = 0; i < 4; ++i) made.part[i] = vdotq_s32(sum.part[i], block.part[i], x);
    return made;
}
// Four activations from each column on, for a strip each.
inline Quads quads(const std::uint8_t* x, const std::uint16_t* columns) {
    return {{quad(x + columns[0]), quad(x + columns[1]), quad(x + columns[2]), quad(x + columns[3])}};
}
inline Sum dot(const Sum& sum, const Block& block, const Quads& x) {
    Sum made;
    for (int i = 0; i < 4; ++i) made.part[i] = vdotq_s32(sum.part[i], block.part[i], x.part[i]);
    return made;
}
inline Vec to_float(const Sum& a, const Sum& b) {
    return each([&](int i) { return vcvtq_f32_s32(vaddq_s32(a.part[i], b.part[i])); });
}

inline uint32x4_t quarter(const std::uint8_t* weights, int i) {
    return vreinterpretq_u32_u8(vld1q_u8(weights + 16 * i));
}
inline Vec low_halves(const std::uint8_t* weights) {
    return each([&](int i) { return vreinterpretq_f32_u32(vshlq_n_u32(quarter(weights, i), 16)); });
}
inline Vec high_halves(const std::uint8_t* weights) {
    return each([&](int i) { return vreinterpretq_f32_u32(vandq_u32(quarter(weights, i), vdupq_n_u32(0xFFFF0000u))); });
}

#include "kernels/kernel_some.hpp"

inline Vec load_halves(const std::uint16_t* from) {
    return each([&](int i) { return vreinterpretq_f32_u32(vshlq_n_u32(vmovl_u16(vld1_u16(from + 4 * i)), 16)); });
}
inline void store_halves(std::uint16_t* to, const Vec& v) {
    for (int i = 0; i < 4; ++i) {
        const uint32x4_t bits = vreinterpretq_u32_f32(v.part[i]);
        const uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
        vst1_u16(to + 4 * i, vshrn_n_u32(vaddq_u32(vaddq_u32(bits, vdupq_n_u32(0x7FFF)), odd), 16));
    }
}

#include "kernels/kernel_templates.hpp"

}  // namespace

const Kernels* neon_kernels() {
#if defined(__linux__)
    return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0 ? &kKernels : nullptr;
#else
    return &kKernels;  // every other 64-bit ARM system we know of runs on processors that have it
#endif
}

}  // namespace seqgen

#else

const seqgen::Kernels* seqgen::neon_kernels() { return nullptr; }

#endif
