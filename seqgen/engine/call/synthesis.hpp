// Synthesis filters of a call's streams, behind the codec: samples of the numbers of bands, and 16-bit samples of their
// linear prediction errors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "call/workspace.hpp"
#include "layers/bands.hpp"
#include "layers/prediction.hpp"

namespace seqgen {

// State of every stream's filters. Samples are passed on as they are where the model has none.
class Synthesis {
   public:
    Synthesis(const Prediction* prediction, const Bands* bands, Workspace& memory, std::size_t streams)
        : prediction_(prediction), bands_(bands) {
        if (bands_ != nullptr) summed_ = memory.floats(streams * bands_->carried());
        if (prediction_ == nullptr) return;
        carried_ = memory.array<std::int16_t>(streams * prediction_->carried());
        power_ = memory.array<double>(prediction_->scratch());
    }

    // A stream's part of a state blob, see Bands::carried and Prediction::carried.
    void load(std::size_t stream, const unsigned char* state) {
        if (bands_ != nullptr) std::memcpy(summed(stream), state, band_bytes());
        if (prediction_ != nullptr) std::memcpy(carried(stream), state + band_bytes(), bytes());
    }
    void save(std::size_t stream, unsigned char* state) const {
        if (bands_ != nullptr) std::memcpy(state, summed(stream), band_bytes());
        if (prediction_ != nullptr) std::memcpy(state + band_bytes(), carried(stream), bytes());
    }

    // The number at vector `within` of a frame, which is a whole number of groups: the sample that bands make, or the
    // number itself.
    float sum(int stream, std::size_t within, float value) const {
        if (bands_ == nullptr) return value;
        return bands_->sum(within % bands_->bands(), value, summed(static_cast<std::size_t>(stream)));
    }
    bool predicts() const { return prediction_ != nullptr; }

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
    float* summed(std::size_t stream) const { return summed_ + stream * bands_->carried(); }
    std::size_t bytes() const { return prediction_->carried() * sizeof(std::int16_t); }
    std::size_t band_bytes() const { return bands_ == nullptr ? 0 : bands_->carried() * sizeof(float); }

    const Prediction* prediction_;
    const Bands* bands_;
    float* summed_ = nullptr;
    std::int16_t* carried_ = nullptr;
    double* power_ = nullptr;
};

}  // namespace seqgen
