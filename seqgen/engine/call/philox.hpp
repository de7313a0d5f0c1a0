// Philox4x32-10 (Salmon, Moraes, Dror, Shaw, SC 2011), laid out as seqgen/noise.py does.
#pragma once

#include <cstdint>

namespace seqgen {

// Uniform numbers of one (seed, stream), four to a block; the last block is kept, since positions come in order.
class Philox {
   public:
    Philox() = default;
    Philox(std::uint64_t seed, std::uint64_t stream) : seed_(seed), stream_(stream) {}

    // (word >> 8) * 2^-24 of word `position` mod 4 of block `position` div 4, in [0, 1).
    float uniform(std::uint64_t position) {
        if (!made_ || position >> 2 != block_) fill(position >> 2);
        return static_cast<float>(words_[position & 3] >> 8) * 0x1p-24f;
    }

   private:
    void fill(std::uint64_t block) {
        std::uint32_t c[4] = {low(block), high(block), high(stream_), high(seed_)};
        std::uint32_t k0 = low(seed_), k1 = low(stream_);
        for (int round = 0; round < 10; ++round, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
            const std::uint64_t first = std::uint64_t{0xD2511F53u} * c[0], second = std::uint64_t{0xCD9E8D57u} * c[2];
            c[0] = high(second) ^ c[1] ^ k0;
            c[1] = low(second);
            c[2] = high(first) ^ c[3] ^ k1;
            c[3] = low(first);
        }
        for (int i = 0; i < 4; ++i) words_[i] = c[i];
        block_ = block;
        made_ = true;
    }

    static std::uint32_t low(std::uint64_t value) { return static_cast<std::uint32_t>(value); }
    static std::uint32_t high(std::uint64_t value) { return static_cast<std::uint32_t>(value >> 32); }

    std::uint64_t seed_ = 0, stream_ = 0, block_ = 0;
    std::uint32_t words_[4] = {};
    bool made_ = false;
};

}  // namespace seqgen
