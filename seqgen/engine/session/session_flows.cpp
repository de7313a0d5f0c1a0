// Samples of a call that flows make of noise.
#include <algorithm>
#include <cmath>

#include "kernels/functions.hpp"
#include "session/session.hpp"

namespace seqgen {

// The samples of frame `index`, stream by stream. All blocks but a last one are full, which suits the tiles of products.
void Session::blocks(std::int64_t index) {
    const auto hop = static_cast<std::int64_t>(model_.hop), first = std::max<std::int64_t>(0, skipped_ - index * hop);
    const std::size_t given = model_.body->given(), set = vectors(index);
    for (int s = 0; s < streams_; ++s) {
        const std::size_t vector = set + static_cast<std::size_t>(s) * given;
        for (std::int64_t within = first; within < hop; within += FlowBlock::kMost) {
            FlowBlock& made = pass_.next();
            made.state = static_cast<unsigned char*>(call_.states[s]) + sizeof(StateHeader);
            made.from = arrays_.from + vector;
            made.delta = arrays_.delta + vector;
            made.weights = model_.weights.data() + within;
            made.times = static_cast<int>(std::min<std::int64_t>(FlowBlock::kMost, hop - within));
            made.stream = s;
            made.index = index * hop + within - skipped_;
            enter(made);
            pass_.run();
        }
    }
}

// The noise of a block: given, or from uniform numbers.
void Session::enter(FlowBlock& block) {
    const auto s = static_cast<std::size_t>(block.stream);
    const std::size_t at = s * static_cast<std::size_t>(call_.samples) + static_cast<std::size_t>(block.index);
    const std::uint64_t position = drawing_ && call_.uniforms == nullptr ? call_.positions[s] : 0;
    for (int t = 0; t < block.times; ++t) {
        const auto along = static_cast<std::size_t>(t);
        if (!drawing_) {
            block.noise[t] = call_.values[at + along];
            continue;
        }
        const float u = call_.uniforms != nullptr
                            ? call_.uniforms[at + along]
                            : noise_[s].uniform(position + static_cast<std::uint64_t>(block.index) + along);
        block.noise[t] = call_.temperature * model_.flows->noise(u);
    }
}

// Behind all flows: samples in [-1, 1], or mean and log-scale of their distributions given the noise before.
void Session::leave(const FlowBlock& block) {
    const auto s = static_cast<std::size_t>(block.stream);
    const std::size_t at = s * static_cast<std::size_t>(call_.samples) + static_cast<std::size_t>(block.index);
    for (int t = 0; t < block.times; ++t) {
        const std::size_t sample = at + static_cast<std::size_t>(t);
        const float made = block.noise[t] * block.scale[t] + block.mean[t];
        const float value = made < 1.0f ? (made > -1.0f ? made : -1.0f) : 1.0f;
        if (call_.audio != nullptr) call_.audio[sample] = value;
        if (call_.pcm != nullptr) call_.pcm[sample] = pcm16(value);
        if (drawing_ || call_.params == nullptr) continue;
        call_.params[2 * sample] = block.mean[t];
        constexpr float kLeast = 1e-38f;  // has a logarithm
        call_.params[2 * sample + 1] = static_cast<float>(logarithm(std::max(block.scale[t], kLeast)));
    }
}

}  // namespace seqgen
