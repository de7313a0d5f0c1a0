// The tiles of AMX as plain loops, with what Intel's manual (volume 2, LDTILECFG, TILELOADD, TILESTORED, TILEZERO,
// TDPBUSD and TDPBF16PS) says of palette 1: where the processor would refuse an instruction, this ends the program.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "kernels/tile_shapes.hpp"

extern int tile_products;  // how many times tiles were configured

namespace seqgen {
namespace {

struct Register {
    std::size_t rows = 0, bytes = 0;
    std::uint8_t row[16][64] = {};
};

struct Tiles {
    inline static Register file[8];
    inline static bool configured = false;

    static void expect(bool right, const char* what) {
        if (right) return;
        std::fprintf(stderr, "the processor would refuse this: %s\n", what);
        std::abort();
    }

    static bool granted() { return true; }
    static bool pairs() { return true; }

    static void configure(const TileShapes& shapes) {
        expect(!configured, "tiles that were not released");  // our own rule, not the processor's
        expect(shapes.palette == 1, "a palette other than 1");
        expect(shapes.first_row == 0, "a load that goes on in the middle");
        for (std::uint8_t reserved : shapes.reserved) expect(reserved == 0, "reserved bytes that are not zero");
        for (int t = 0; t < 16; ++t) {
            expect(t < 8 || (shapes.rows[t] == 0 && shapes.row_bytes[t] == 0), "a ninth tile");
            expect(shapes.rows[t] <= 16 && shapes.row_bytes[t] <= 64, "a tile of more than 16 rows of 64 bytes");
            expect((shapes.rows[t] == 0) == (shapes.row_bytes[t] == 0), "rows without bytes, or bytes without rows");
        }
        for (int t = 0; t < 8; ++t) {
            file[t] = Register{};
            file[t].rows = shapes.rows[t];
            file[t].bytes = shapes.row_bytes[t];
        }
        configured = true;
        ++tile_products;
    }

    static void release() {
        configured = false;
        for (Register& each : file) each = Register{};
    }

    static Register& used(int t) {
        expect(configured && file[t].rows > 0, "a tile that is not configured");
        return file[t];
    }

    template <int T>
    static void zero() {
        std::memset(used(T).row, 0, sizeof file[T].row);
    }

    template <int T>
    static void load(const void* from, std::size_t stride) {
        Register& tile = used(T);
        std::memset(tile.row, 0, sizeof tile.row);
        for (std::size_t i = 0; i < tile.rows; ++i) {
            std::memcpy(tile.row[i], static_cast<const std::uint8_t*>(from) + i * stride, tile.bytes);
        }
    }

    template <int T>
    static void store(void* to, std::size_t stride) {
        const Register& tile = used(T);
        for (std::size_t i = 0; i < tile.rows; ++i) {
            std::memcpy(static_cast<std::uint8_t*>(to) + i * stride, tile.row[i], tile.bytes);
        }
    }

    // C += A B, of whose sums add(sum, a, b) takes four bytes of a row of A and the four of B that meet them.
    template <int C, int A, int B, typename Sum, typename Add>
    static void multiply(Add add) {
        static_assert(C != A && A != B && B != C, "the processor refuses a tile that stands twice");
        Register &c = used(C), &a = used(A), &b = used(B);
        expect(a.bytes % 4 == 0 && b.bytes % 4 == 0 && c.bytes % 4 == 0, "rows that are not whole fours of bytes");
        expect(c.rows == a.rows && c.bytes == b.bytes && a.bytes / 4 == b.rows, "shapes that do not fit");
        for (std::size_t m = 0; m < c.rows; ++m) {
            for (std::size_t n = 0; n < c.bytes / 4; ++n) {
                Sum sum;
                std::memcpy(&sum, c.row[m] + 4 * n, sizeof sum);
                for (std::size_t k = 0; k < b.rows; ++k) add(sum, a.row[m] + 4 * k, b.row[k] + 4 * n);
                std::memcpy(c.row[m] + 4 * n, &sum, sizeof sum);
            }
        }
    }

    template <int C, int A, int B>
    static void dot() {
        multiply<C, A, B, std::int32_t>([](std::int32_t& sum, const std::uint8_t* a, const std::uint8_t* b) {
            for (int i = 0; i < 4; ++i) sum += a[i] * static_cast<std::int8_t>(b[i]);
        });
    }

    template <int C, int A, int B>
    static void dot_pairs() {
        multiply<C, A, B, float>([](float& sum, const std::uint8_t* a, const std::uint8_t* b) {
            for (std::size_t i = 0; i < 2; ++i) sum += upper(a, i) * upper(b, i);
        });
    }

    // Number i of a row of bfloat16.
    static float upper(const std::uint8_t* row, std::size_t i) {
        std::uint16_t bits;
        std::memcpy(&bits, row + 2 * i, sizeof bits);
        const std::uint32_t wide = static_cast<std::uint32_t>(bits) << 16;
        float made;
        std::memcpy(&made, &wide, sizeof made);
        return made;
    }
};

}  // namespace
}  // namespace seqgen
