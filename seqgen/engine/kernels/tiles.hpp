// The eight tile registers of AMX, by inline assembly: the intrinsics of GCC 12 tell the compiler that the
// configuration is smaller than it is, and stores into it get lost. Part of amx.cpp; a test puts plain loops in place
// of this file.
#pragma once

#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <cstddef>
#include <cstdint>

#include "kernels/tile_shapes.hpp"

namespace seqgen {
namespace {

struct Tiles {
    // Whether the processor has tiles and the system lets this process use them.
    static bool granted() {
#if defined(__linux__)
        constexpr unsigned kSystemSaves = 1u << 27, kTilesAndInt8 = 3u << 24, kTileState = 3u << 17;
        constexpr long kAsk = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, which older headers lack
        unsigned a = 0, b = 0, c = 0, d = 0;
        if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & kSystemSaves) == 0) return false;
        if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (d & kTilesAndInt8) != kTilesAndInt8) return false;
        // Palette 1: EBX has the bytes of a row and above them the number of tiles, ECX the rows.
        if (__get_cpuid_count(0x1D, 1, &a, &b, &c, &d) == 0 || b != (8u << 16 | 64u) || (c & 0xFFFFu) != 16)
            return false;
        __asm__("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
        return (a & kTileState) == kTileState && syscall(SYS_arch_prctl, kAsk, kTileData) == 0;
#else
        return false;
#endif
    }

    static void configure(const TileShapes& shapes) { __asm__ volatile("ldtilecfg %0" : : "m"(shapes) : "memory"); }
    static void release() { __asm__ volatile("tilerelease" : : : "memory"); }

    template <int T>
    static void zero() {
        __asm__ volatile("tilezero %%tmm%c0" : : "i"(T));
    }
    template <int T>
    static void load(const void* from, std::size_t stride) {
        __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(stride), "i"(T) : "memory");
    }
    template <int T>
    static void store(void* to, std::size_t stride) {
        __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(stride), "i"(T) : "memory");
    }
    // Whether pairs of bfloat16 can be multiplied too.
    static bool pairs() {
        constexpr unsigned kBFloat16 = 1u << 22;
        unsigned a = 0, b = 0, c = 0, d = 0;
        return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d & kBFloat16) != 0;
    }

    // C += A B for unsigned bytes of A and signed ones of B: row k of B has four numbers each of its columns.
    template <int C, int A, int B>
    static void dot() {
        __asm__ volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(C), "i"(A), "i"(B));
    }
    // C += A B for pairs of bfloat16: row k of B has two numbers of each of its columns.
    template <int C, int A, int B>
    static void dot_pairs() {
        __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(C), "i"(A), "i"(B));
    }
};

}  // namespace
}  // namespace seqgen
