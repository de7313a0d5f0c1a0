// Conditioning of a call's streams between two frames: the vector of the one before, and the way from there to the
// newest.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "bodies/body.hpp"

namespace seqgen {

// Vectors as a body has them, `width` floats each, stream by stream. There may be two sets, for bodies that still make
// samples of a frame when the next one begins.
class ConditioningRamp {
   public:
    ConditioningRamp(Workspace& memory, std::size_t width, int streams, int sets = 1)
        : width_(width), streams_(static_cast<std::size_t>(streams)) {
        const auto all = static_cast<std::size_t>(sets) * streams_;
        from_ = memory.floats(all * width);
        delta_ = memory.floats(all * width);
        newest_ = memory.floats(streams_ * width);
    }

    const float* from(std::size_t stream, std::size_t set = 0) const { return from_ + at(stream, set); }
    const float* delta(std::size_t stream, std::size_t set = 0) const { return delta_ + at(stream, set); }

    // The newest vector is all that a stream's state has of it.
    std::size_t state_bytes() const { return width_ * sizeof(float); }
    void load(int stream, const unsigned char* state) { std::memcpy(newest(stream), state, state_bytes()); }
    void save(int stream, unsigned char* state) const { std::memcpy(state, newest(stream), state_bytes()); }

    // The next frame, whose vectors `arrange(vector, made)` brings into the body's layout.
    template <typename Arrange>
    void enter(const Frame& frame, std::size_t set, Arrange&& arrange) {
        for (std::size_t stream = 0; stream < streams_; ++stream) {
            float *from = from_ + at(stream, set), *delta = delta_ + at(stream, set);
            float* vector = newest_ + stream * width_;
            std::copy_n(vector, width_, from);
            arrange(frame.vectors + stream * frame.stride, vector);
            for (std::size_t i = 0; i < width_; ++i) delta[i] = vector[i] - from[i];
        }
    }

   private:
    std::size_t at(std::size_t stream, std::size_t set) const { return (set * streams_ + stream) * width_; }
    float* newest(int stream) const { return newest_ + static_cast<std::size_t>(stream) * width_; }

    std::size_t width_, streams_;
    float *from_, *delta_, *newest_;
};

}  // namespace seqgen
