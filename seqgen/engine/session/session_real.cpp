// Samples of a call that are real numbers.
#include <algorithm>

#include "session/session.hpp"

namespace seqgen {

// Draws sample `index` of the call, or takes the given one and tells its distribution.
void Session::real(std::int64_t index, std::size_t s) {
    const Distribution& emission = *model_.emission;
    const std::size_t at = s * static_cast<std::size_t>(call_.samples) + static_cast<std::size_t>(index);
    const float* params = model_.stack->parameters(stack_, static_cast<int>(s), emission);
    float& value = stack_.previous[s];
    if (drawing_) {
        const auto draws = static_cast<std::size_t>(emission.draws());
        const std::uint64_t first = static_cast<std::uint64_t>(index) * draws;
        float uniforms[2];
        for (std::size_t i = 0; i < draws; ++i) {
            uniforms[i] = call_.uniforms != nullptr ? call_.uniforms[at * draws + i]
                                                    : noise_[s].uniform(call_.positions[s] + first + i);
        }
        value = emission.sample(params, uniforms, call_.temperature);
    } else {
        value = call_.values[at];
        const std::size_t count = emission.params();
        if (call_.params != nullptr) std::copy_n(params, count, call_.params + at * count);
    }
    if (call_.audio != nullptr) call_.audio[at] = value;
    if (call_.pcm != nullptr) call_.pcm[at] = pcm16(value);
}

}  // namespace seqgen
