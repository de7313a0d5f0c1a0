#include "call/sample_io.hpp"

#include <cmath>

namespace seqgen {

SampleIO::SampleIO(const seqgen_call& call, int first, bool drawing, const SampleShape& shape,
                   const Synthesis& synthesis)
    : call_(call),
      first_(first),
      drawing_(drawing),
      shape_(shape),
      synthesis_(synthesis),
      sharpness_(1.0f / std::max(call.temperature, 1e-3f)) {}

Philox SampleIO::generator(int stream) const {
    const bool own = drawing_ && call_.uniforms == nullptr;
    return own ? Philox(call_.seed, call_.stream_ids[first_ + stream]) : Philox();
}

float SampleIO::value(int stream, std::int64_t sample, const Distribution& distribution, const float* params,
                      Philox& generator, float warmth) const {
    if (!drawing_) {
        const std::size_t count = distribution.num_params();
        if (float* made = this->params(stream, sample, count)) std::copy_n(params, count, made);
        return call_.values[at(stream, sample)];
    }
    const auto count = static_cast<std::size_t>(shape_.num_uniforms), first = at(stream, sample) * count;
    float uniforms[2];
    for (std::size_t i = 0; i < count; ++i) {
        const std::uint64_t number = static_cast<std::uint64_t>(sample) * count + i;
        uniforms[i] = uniform_number(stream, first + i, number, generator);
    }
    return distribution.sample(params, uniforms, warmth * call_.temperature);
}

float SampleIO::uniform(int stream, std::int64_t sample, Philox& generator) const {
    return uniform_number(stream, at(stream, sample), static_cast<std::uint64_t>(sample), generator);
}

void SampleIO::put(int stream, std::int64_t sample, std::size_t within, float value) const {
    const std::size_t place = at(stream, sample);
    value = synthesis_.sum(stream, within, value);
    if (synthesis_.predicts()) {
        const float error = std::nearbyint(value * 32768.0f);
        put_pcm(stream, sample, within, static_cast<int>(error > -65536.0f ? (error < 65536.0f ? error : 65536.0f) : -65536.0f));
        return;
    }
    value = value < 1.0f ? (value > -1.0f ? value : -1.0f) : 1.0f;
    if (call_.audio != nullptr) call_.audio[place] = value;
    if (call_.pcm != nullptr) call_.pcm[place] = pcm16(value);
}

}  // namespace seqgen
