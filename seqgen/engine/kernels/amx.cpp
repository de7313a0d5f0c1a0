// AMX: dense int8 products of some streams and dense bfloat16 products of some rows by tiles, all else as AVX-512 does
// it. One instruction multiplies the activations of up to 16 streams or rows with 16 blocks of a group. Plain loops can take
// the place of the tiles (tests/engine/amx.cpp).
#include "kernels/kernels.hpp"

// The second name is that of clang before 15.
#if defined(__AMX_INT8__) || defined(__AMXINT8__) || defined(SEQGEN_TILES)
#if defined(SEQGEN_TILES)
#include SEQGEN_TILES
#else
#include "kernels/tiles.hpp"
#endif

#include <cstring>
#include <type_traits>

namespace seqgen {
namespace {

constexpr int kMostRows = 16;        // of a tile
constexpr int kFewest = 2;           // streams: of two a dense step of 512 units is 1.5 times faster so, of one slower
constexpr std::uint32_t kDeep = 16;  // blocks of a tile, pairs of a dense product
constexpr int kTogether = 4;         // groups that share a tile of activations

// Tiles 0-3 have the sums of four groups, stream by stream; then come activations and weights, for sixteen blocks and
// for those that are left.
enum Tile { kActivations = 4, kWeights, kLastActivations, kLastWeights };

// Of products of so many rows with groups of so many blocks.
TileShapes shapes(std::size_t rows, std::size_t blocks) {
    TileShapes made;
    const std::size_t rest = blocks % kDeep;
    for (int group = 0; group < kTogether; ++group) made.set(group, rows, kBlockBytes);
    made.set(kActivations, rows, 4 * kDeep);
    made.set(kWeights, kDeep, kBlockBytes);
    if (rest > 0) {
        made.set(kLastActivations, rows, 4 * rest);
        made.set(kLastWeights, rest, kBlockBytes);
    }
    return made;
}

// Calls f with 0, 1 .. as constants: tiles are named by instructions, not by numbers.
template <int N, typename F>
inline void each(F&& f) {
    if constexpr (N > 0) {
        each<N - 1>(f);
        f(std::integral_constant<int, N - 1>());
    }
}

// What a tile's sums of a group are worth: as to_float(..) and a scale of the other sets.
inline void write(const Matrix& m, std::uint32_t group, const std::int32_t* sums, Rows<float> y, int streams) {
    const std::size_t row = group * kSimdWidth;
    for (int s = 0; s < streams; ++s, sums += kSimdWidth) {
        float made[kSimdWidth];
        for (int i = 0; i < kSimdWidth; ++i) made[i] = static_cast<float>(m.base[row + i] + sums[i]) * m.scale[row + i];
        std::memcpy(y.data + s * y.stride + row, made, sizeof made);
    }
}

template <int G>
inline void groups_of(const Matrix& m, std::uint32_t group, Rows<const std::uint8_t> x, Rows<float> y, int streams) {
    const std::size_t apart = m.dense * kBlockBytes;
    const std::uint8_t* weights = m.weights + group * apart;
    each<G>([](auto g) { Tiles::zero<g>(); });
    std::uint32_t left = m.dense;
    for (; left >= kDeep; left -= kDeep, x.data += 4 * kDeep, weights += kDeep * kBlockBytes) {
        Tiles::load<kActivations>(x.data, x.stride);
        each<G>([&](auto g) {
            Tiles::load<kWeights>(weights + g * apart, kBlockBytes);
            Tiles::dot<g, kActivations, kWeights>();
        });
    }
    if (left > 0) {
        Tiles::load<kLastActivations>(x.data, x.stride);
        each<G>([&](auto g) {
            Tiles::load<kLastWeights>(weights + g * apart, kBlockBytes);
            Tiles::dot<g, kLastActivations, kLastWeights>();
        });
    }
    alignas(64) std::int32_t sums[kSimdWidth * kSimdWidth];
    each<G>([&](auto g) {
        Tiles::store<g>(sums, kBlockBytes);
        write(m, group + g, sums, y, streams);
    });
}

void product(const Matrix& m, Span groups, Rows<const std::uint8_t> x, Rows<float> y, int streams) {
    while (m.dense > 0 && streams > kMostRows) {
        product(m, groups, x, y, kMostRows);
        streams -= kMostRows;
        x.data += kMostRows * x.stride;
        y.data += kMostRows * y.stride;
    }
    if (m.dense == 0 || streams < kFewest) return avx512_kernels()->product_i8(m, groups, x, y, streams);
    Tiles::configure(shapes(static_cast<std::size_t>(streams), m.dense));
    std::uint32_t group = groups.first;
    for (; group + kTogether <= groups.last; group += kTogether) groups_of<kTogether>(m, group, x, y, streams);
    for (; group < groups.last; ++group) groups_of<1>(m, group, x, y, streams);
    Tiles::release();  // tiles in use make every switch of threads save 8 KiB
}

// Groups of y = W x for R times up to 16 rows: sums go from the tiles straight to y.
// Tiles are the sums, row by row, then x and the weights.
template <int R, int G>
inline void dense_groups(const Dense& m, std::size_t group, Rows<const std::uint16_t> x, Rows<float> y) {
    constexpr int kX = R * G, kW = kX + R, kFree = 8 - kW;  // tiles that weights take turns in
    const float* weights = m.weights + group * m.steps * kSimdWidth;
    each<R * G>([](auto sum) { Tiles::zero<sum>(); });
    for (std::size_t at = 0; at < m.steps; at += kDeep) {
        each<R>([&](auto r) {
            Tiles::load<kX + r>(x.data + r * kMostRows * x.stride + 2 * at, x.stride * sizeof(std::uint16_t));
        });
        each<G>([&](auto g) {
            constexpr int kWeights = kW + g % kFree;
            Tiles::load<kWeights>(weights + (g * m.steps + at) * kSimdWidth, kBlockBytes);
            each<R>([&](auto r) { Tiles::dot_pairs<r * G + g, kX + r, kWeights>(); });
        });
    }
    each<R>([&](auto r) {
        each<G>([&](auto g) {
            float* const to = y.data + r * kMostRows * y.stride + (group + g) * kSimdWidth;
            Tiles::store<r * G + g>(to, y.stride * sizeof(float));
        });
    });
}

// R rows of tiles, the last of `last` rows.
template <int R, int G>
void dense_rows(const Dense& m, Rows<const std::uint16_t> x, Rows<float> y, std::size_t last) {
    const auto configured = [&](auto together) {
        TileShapes made;
        for (int tile = 0; tile < 8; ++tile) made.set(tile, kMostRows, kBlockBytes);
        for (int g = 0; g < together; ++g) made.set((R - 1) * together + g, last, kBlockBytes);
        made.set(R * together + R - 1, last, kBlockBytes);
        Tiles::configure(made);
    };
    configured(std::integral_constant<int, G>());
    std::size_t group = 0;
    for (; group + G <= m.groups; group += G) dense_groups<R, G>(m, group, x, y);
    if (group < m.groups) {
        Tiles::release();
        configured(std::integral_constant<int, 1>());
    }
    for (; group < m.groups; ++group) dense_groups<R, 1>(m, group, x, y);
    Tiles::release();
}

// Two rows of tiles read the weights once. Of one row two groups are faster than four where sums are short (seen at
// 256 steps, not at 768).
void dense(const Dense& m, Rows<const std::uint16_t> x, Rows<float> y, std::size_t rows) {
    constexpr std::size_t kLong = 512;
    while (rows > 0) {
        const std::size_t some = rows < 2 * kMostRows ? rows : 2 * kMostRows;
        if (some > kMostRows) {
            dense_rows<2, 2>(m, x, y, some - kMostRows);
        } else if (m.steps < kLong) {  // few rows too, or bits would tell how rows were shared
            dense_rows<1, 2>(m, x, y, some);
        } else {
            dense_rows<1, 4>(m, x, y, some);
        }
        rows -= some;
        x.data += some * x.stride;
        y.data += some * y.stride;
    }
}

}  // namespace

const Kernels* amx_kernels() {
    static const Kernels* const here = []() -> const Kernels* {
        static Kernels made;
        if (avx512_kernels() == nullptr || !Tiles::granted()) return nullptr;
        made = avx512_bf16_kernels() != nullptr ? *avx512_bf16_kernels() : *avx512_kernels();
        made.name = "amx";
        made.product_i8 = product;
        if (Tiles::pairs()) made.dense_bf16 = dense;
        return &made;
    }();
    return here;
}

}  // namespace seqgen

#else

const seqgen::Kernels* seqgen::amx_kernels() { return nullptr; }

#endif
