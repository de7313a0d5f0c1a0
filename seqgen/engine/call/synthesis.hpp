// Synthesis filters of a call's streams, behind the codec: 16-bit samples from their linear prediction errors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "call/workspace.hpp"
#include "layers/prediction.hpp"

namespace seqgen {

// State of every stream's filter. Samples are passed on as they are where the model has no prediction.
class Synthesis {
   public:
    Synthesis(const Prediction* prediction, Workspace& memory, std::size_t streams) : prediction_(prediction) {
        if (prediction_ == nullptr) return;
        carried_ = memory.array<std::int16_t>(streams * prediction_->carried());
        power_ = memory.array<double>(prediction_->scratch());
    }

    // A stream's part of a state blob, see Prediction::carried.
    void load(std::size_t stream, const unsigned char* state) {
        if (prediction_ != nullptr) std::memcpy(carried(stream), state, bytes());
    }
    void save(std::size_t stream, unsigned char* state) const {
        if (prediction_ != nullptr) std::memcpy(state, carried(stream), bytes());
    }

    // A frame of a stream's features is there.
    void frame(std::size_t stream, const float* features) {
        if (prediction_ != nullptr) prediction_->frame(features, carried(stream), power_);
    }

    // The sample at vector `within` of the frame.
    int filter(int stream, std::size_t within, int error) const {
        if (prediction_ == nullptr) return error;
        return prediction_->synthesise(error, within, carried(static_cast<std::size_t>(stream)));
    }

   private:
    std::int16_t* carried(std::size_t stream) const { return carried_ + stream * prediction_->carried(); }
    std::size_t bytes() const { return prediction_->carried() * sizeof(std::int16_t); }

    const Prediction* prediction_;
    std::int16_t* carried_ = nullptr;
    double* power_ = nullptr;
};

}  // namespace seqgen
