// Tile configuration of AMX, the 64 bytes that LDTILECFG reads.
#pragma once

#include <cstdint>

namespace seqgen {

struct TileShapes {
    std::uint8_t palette = 1, first_row = 0, reserved[14] = {};
    std::uint16_t row_bytes[16] = {};  // of each tile; there are eight
    std::uint8_t rows[16] = {};

    void set(int tile, std::size_t height, std::size_t bytes) {
        rows[tile] = static_cast<std::uint8_t>(height);
        row_bytes[tile] = static_cast<std::uint16_t>(bytes);
    }
};
static_assert(sizeof(TileShapes) == 64, "the processor reads 64 bytes");

}  // namespace seqgen
