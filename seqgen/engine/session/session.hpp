// One sampling call under way: states in, frames and samples, states out, all in the caller's workspace.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "bodies/flow_pass.hpp"
#include "bodies/shared_product.hpp"
#include "call/philox.hpp"
#include "session/model.hpp"

namespace seqgen {

// A sample in [-1, 1] as 16-bit PCM.
inline std::int16_t pcm16(float value) {
    return static_cast<std::int16_t>(std::min(std::nearbyint(value * 32768.0f), 32767.0f));
}

// A call's arrays in its workspace, streams side by side.
struct Arrays {
    WaveRnnBuffers& cell;
    WaveNetBuffers& stack;
    FlowPass& pass;
    // Conditioning of the frame before, and from there to this one's; of flows there are two sets, since some samples
    // of a frame may still be made when the next one begins.
    float *from = nullptr, *delta = nullptr;
    float* vector = nullptr;         // the newest conditioning vector, as the body has it
    float* scratch = nullptr;        // the conditioning network's
    float* network_state = nullptr;
    std::int16_t* carried = nullptr;
    double* power = nullptr;

    template <typename Take>
    void reserve(const Model& model, std::size_t rows, Take&& take);
};

// Checked beforehand by engine.cpp; nothing in here fails, allocates or locks.
class Session {
   public:
    Session(const Model& model, const seqgen_call& call, bool drawing);

    void run();

    // Bytes of workspace for a number of streams, room for alignment included.
    static std::size_t workspace(const Model& model, int streams);

   private:
    void load();
    void save();
    void frame(std::int64_t index);
    void sample(std::int64_t index, std::size_t within);
    int choose(std::int64_t element, int which, std::size_t stream);
    void put(std::int64_t index, std::size_t within, std::size_t stream);
    void real(std::int64_t index, std::size_t stream);
    void blocks(std::int64_t index);
    void enter(FlowBlock& block);
    void leave(const FlowBlock& block);

    // Where the vectors of a frame begin in `from` and `delta`.
    std::size_t vectors(std::int64_t index) const {
        const bool second = model_.flows && index % 2 != 0;
        return second ? static_cast<std::size_t>(streams_) * model_.body->given() : 0;
    }

    const Model& model_;
    const seqgen_call& call_;
    const bool drawing_;
    const int streams_;
    const std::int64_t skipped_;  // conditioning vectors dropped at the start of the call

    WaveRnnBuffers cell_{};
    WaveNetBuffers stack_{};
    SharedProduct product_;
    FlowPass pass_;
    Arrays arrays_{cell_, stack_, pass_};
    float sharpness_;
    float known_[SEQGEN_MAX_STREAMS][3];  // the cell's inputs
    int bytes_[SEQGEN_MAX_STREAMS][2];    // the newest coarse and fine byte
    StateHeader headers_[SEQGEN_MAX_STREAMS];
    Philox noise_[SEQGEN_MAX_STREAMS];
};

}  // namespace seqgen
