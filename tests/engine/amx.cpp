// The kernels of amx.cpp, compiled over tiles of plain loops, against the generic ones on random matrices.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

#include "kernels/kernels.hpp"
#include "kernels/pack.hpp"

int tile_products = 0;

namespace {

using namespace seqgen;

std::mt19937 random_bits(1);

int between(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random_bits); }

// What a matrix is like: `share` of its blocks of `side` rows and 4 columns are not zero.
struct Kind {
    int height, width, side;
    double share;
};

std::vector<float> weights(const Kind& kind) {
    std::uniform_real_distribution<float> unit(0, 1);
    const auto width = static_cast<std::size_t>(kind.width);
    std::vector<float> made(static_cast<std::size_t>(kind.height) * width);
    for (int row = 0; row < kind.height; row += kind.side) {
        for (int column = 0; column < kind.width; column += 4) {
            if (unit(random_bits) >= kind.share) continue;
            for (int y = row; y < std::min(row + kind.side, kind.height); ++y) {
                for (int x = column; x < std::min(column + 4, kind.width); ++x) {
                    made[static_cast<std::size_t>(y) * width + static_cast<std::size_t>(x)] = unit(random_bits) - 0.5f;
                }
            }
        }
    }
    return made;
}

// Whether some groups of a random product for a random number of streams have the same bits in both sets.
bool same(const Kernels& fast, const Kind& kind, int streams) {
    const std::vector<float> dense = weights(kind);
    const auto activations = between(0, 1) == 0 ? Activations::state : Activations::rectified;
    const MatrixSource source =
        MatrixSource::plain(dense.data(), static_cast<std::size_t>(kind.height), static_cast<std::size_t>(kind.width));
    const PackedMatrix plain(source, SEQGEN_FORMAT_INT8, activations, *generic_kernels());
    const PackedMatrix tiled(source, SEQGEN_FORMAT_INT8, activations, fast);
    const auto rows = static_cast<std::size_t>(streams);
    const std::size_t stride = source.columns.size() + 16 * static_cast<std::size_t>(between(0, 2));
    AlignedArray<std::uint8_t> signed_bytes(rows * stride), bytes(rows * stride);
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        const int q = between(0, 9) == 0 ? 127 : between(-127, 127);
        signed_bytes[i] = static_cast<std::uint8_t>(q);
        bytes[i] = static_cast<std::uint8_t>(q + 128);
    }
    const std::size_t height = source.rows.size();
    std::vector<float> expected(rows * height, -1.0f), got = expected;
    const int all = static_cast<int>(plain.all().last), first = between(0, all - 1), last = between(first + 1, all);
    const Span groups{static_cast<std::uint32_t>(first), static_cast<std::uint32_t>(last)};
    plain(groups, Rows<const std::uint8_t>{signed_bytes.data(), stride}, Rows<float>{expected.data(), height}, streams);
    tiled(groups, Rows<const std::uint8_t>{bytes.data(), stride}, Rows<float>{got.data(), height}, streams);
    return std::memcmp(expected.data(), got.data(), got.size() * sizeof(float)) == 0;
}

// How far a product of rows in bfloat16 is from the generic one, whose sums run in another order, against its largest sum.
double apart(const Kernels& fast, std::size_t groups, std::size_t steps, std::size_t rows) {
    std::normal_distribution<float> normal;
    AlignedArray<float> weights(groups * steps * kSimdWidth);
    for (std::size_t i = 0; i < weights.size(); ++i) {
        const std::uint32_t two = std::uint32_t{narrowed(normal(random_bits))} << 16 | narrowed(normal(random_bits));
        std::memcpy(&weights[i], &two, sizeof two);
    }
    Dense matrix;
    matrix.weights = weights.data();
    matrix.groups = groups;
    matrix.steps = steps;
    const std::size_t inputs = 2 * steps, outputs = groups * kSimdWidth;
    std::vector<std::uint16_t> x(rows * inputs);
    for (auto& one : x) one = narrowed(normal(random_bits));
    std::vector<float> expected(rows * outputs, -1.0f), got = expected;
    generic_kernels()->dense_bf16(matrix, {x.data(), inputs}, {expected.data(), outputs}, rows);
    fast.dense_bf16(matrix, {x.data(), inputs}, {got.data(), outputs}, rows);
    double most = 0, largest = 0;
    for (std::size_t i = 0; i < got.size(); ++i) {
        most = std::max(most, std::fabs(static_cast<double>(got[i]) - expected[i]));
        largest = std::max(largest, std::fabs(static_cast<double>(expected[i])));
    }
    return most / largest;
}

}  // namespace

int main() {
    const Kernels* fast = amx_kernels();
    if (fast == nullptr) {
        std::puts("needs AVX-512");
        return 0;
    }
    int products = 0;
    const int sides[] = {16, 4};
    for (int round = 0; round < 60; ++round) {
        for (int streams = 1; streams <= SEQGEN_MAX_STREAMS; ++streams, ++products) {
            const double share = round % 4 == 3 ? 0.15 : 1.0;
            const Kind kind{between(1, 200), round % 4 == 0 ? 64 * between(1, 5) : between(1, 330), sides[round % 2], share};
            if (same(*fast, kind, streams)) continue;
            std::fprintf(stderr, "%d x %d, %d streams: other bits\n", kind.height, kind.width, streams);
            return 1;
        }
    }
    for (int round = 0; round < 40; ++round) {
        const auto any = [](int low, int high) { return static_cast<std::size_t>(between(low, high)); };
        const std::size_t groups = any(1, 11), steps = 16 * any(1, 34), rows = any(1, 40);
        const double found = apart(*fast, groups, steps, rows);
        if (found < 1e-5) continue;
        std::fprintf(stderr, "%zu groups of %zu, %zu rows: apart by %g\n", groups, steps, rows, found);
        return 1;
    }
    std::printf("%s: %d products, %d of them by tiles, the same bits\n", fast->name, products, tile_products);
    return 0;
}
