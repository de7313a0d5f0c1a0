// Samples of a call: uniform numbers or given elements in, audio and distributions out.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "call/philox.hpp"
#include "call/synthesis.hpp"
#include "layers/codec.hpp"
#include "layers/distribution.hpp"
#include "seqgen_engine.h"

namespace seqgen {

// Shape of what a call is given: symbols and uniform numbers of a sample, and samples beyond those that the call makes.
struct SampleShape {
    int symbols_per_sample = 1, num_uniforms = 1, ahead = 0;
};

// Draws samples from the distributions that a body's network makes; or, where a call scores, takes those that the
// caller gives and hands out the distributions, and writes samples in the caller's arrays. `stream` counts from the
// call's stream `first`; elements and samples count from the call's first one.
class SampleIO {
   public:
    SampleIO(const seqgen_call& call, int first, bool drawing, const SampleShape& shape, const Synthesis& synthesis);

    bool drawing() const { return drawing_; }
    float temperature() const { return call_.temperature; }
    std::int64_t samples() const { return call_.samples; }

    // The generator of a stream's uniform numbers; it is never asked where the caller brings them.
    Philox generator(int stream) const;

    // A symbol of those that a stream's samples consist of.
    int symbol(int stream, std::int64_t element, const Logits& logits, Philox& generator) const;

    // A symbol that a call which scores is given.
    int given_symbol(int stream, std::int64_t element) const { return given(at(stream, element)); }

    // A symbol is there that is a sample of its own.
    void put_symbol(int stream, std::int64_t sample, int symbol) const {
        if (call_.drawn != nullptr) call_.drawn[at(stream, sample)] = symbol;
    }

    // A real-valued sample, from the parameters of its distribution, drawn at so many times the call's temperature.
    float value(int stream, std::int64_t sample, const Distribution& distribution, const float* params,
                Philox& generator, float warmth = 1.0f) const;

    // Where samples are made of noise: its uniform number, or the noise itself.
    float uniform(int stream, std::int64_t sample, Philox& generator) const;
    float given_noise(int stream, std::int64_t sample) const { return call_.values[at(stream, sample)]; }

    // Where the parameters of a sample's distribution go; null where nobody asks.
    float* params(int stream, std::int64_t sample, std::size_t count) const {
        return drawing_ || call_.params == nullptr ? nullptr : call_.params + at(stream, sample) * count;
    }

    // A sample is there, at vector `within` of its frame: a real number in [-1, 1], of bands or of a waveform; or 16
    // bits. Where there are synthesis filters they make the sample that goes out of it.
    void put(int stream, std::int64_t sample, std::size_t within, float value) const;
    void put_pcm(int stream, std::int64_t sample, std::size_t within, int value) const;

   private:
    std::size_t at(int stream, std::int64_t sample) const {
        return static_cast<std::size_t>((first_ + stream) * call_.samples + sample);
    }
    int given(std::size_t at) const { return call_.symbols != nullptr ? call_.symbols[at] : call_.elements[at]; }
    float uniform_number(int stream, std::size_t at, std::uint64_t number, Philox& generator) const;

    const seqgen_call& call_;
    const int first_;
    const bool drawing_;
    const SampleShape shape_;
    const Synthesis& synthesis_;
    const float sharpness_;
};

// Drawn for every sample, which some bodies make in a microsecond.
inline float SampleIO::uniform_number(int stream, std::size_t at, std::uint64_t number, Philox& generator) const {
    return call_.uniforms != nullptr ? call_.uniforms[at]
                                     : generator.uniform(call_.positions[first_ + stream] + number);
}

inline int SampleIO::symbol(int stream, std::int64_t element, const Logits& logits, Philox& generator) const {
    const std::int64_t each = shape_.symbols_per_sample * (call_.samples + shape_.ahead);
    const auto at = static_cast<std::size_t>((first_ + stream) * each + element);
    if (!drawing_) {
        if (call_.logits != nullptr) logits.write(call_.logits + at * logits.classes);
        return given(at);
    }
    return logits.draw(sharpness_, uniform_number(stream, at, static_cast<std::uint64_t>(element), generator));
}

inline void SampleIO::put_pcm(int stream, std::int64_t sample, std::size_t within, int value) const {
    const std::size_t place = at(stream, sample);
    const int made = synthesis_.filter(stream, within, value);
    if (call_.audio != nullptr) call_.audio[place] = static_cast<float>(made) / 32768.0f;
    if (call_.pcm != nullptr) call_.pcm[place] = static_cast<std::int16_t>(made);
}

}  // namespace seqgen
