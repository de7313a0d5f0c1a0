// Linear prediction: a synthesis filter behind the codec, which makes PCM of the prediction error.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "program/json.hpp"
#include "program/tensors.hpp"

namespace seqgen {

// As seqgen/audio/prediction.py and seqgen/nets/synthesis.py have it, whole numbers from the coefficients on:
//   power = exp(2 (mel - level) @ envelope),  r = power @ correlation,  c = round(4096 * Levinson(r))
//   p_t = floor((Σ_k c_k x_{t-k} + 2048) / 4096),   x_t = clip16(e_t + p_t)
// Conditioning vector v of a stream has the coefficients of frame floor((v - latency) / hop), those of silence before
// the first frame.
class Prediction {
   public:
    static constexpr std::size_t kLongest = 32;

    // Raises Failure(SEQGEN_FORMAT) for missing or unfitting tensors.
    Prediction(const Json& op, const Tensors& tensors, std::size_t channels, std::size_t hop, std::size_t latency,
               const std::string& where);

    std::size_t order() const { return order_; }

    // 16-bit numbers that one stream carries: the coefficients of the waiting frames and of the newest one, oldest
    // first, then the last samples, newest first.
    std::size_t carried() const { return (waiting_ + 1) * order_ + order_; }
    std::size_t scratch() const { return bins_; }  // float64 numbers of scratch for one call
    void init(std::int16_t* carried) const;

    // Takes a frame of features; call it before the frame's samples.
    void frame(const float* features, std::int16_t* carried, double* scratch) const;

    // The sample of excitation `error` at vector `index` (0 .. hop-1) of the frame.
    int synthesise(int error, std::size_t index, std::int16_t* carried) const;

   private:
    void coefficients(const float* mel, std::int16_t* made, double* power) const;

    std::size_t order_ = 0, bands_ = 0, bins_ = 0, waiting_ = 0, start_ = 0, hop_ = 1;
    float silence_ = 0;
    std::vector<double> level_, envelope_, correlation_;
};

}  // namespace seqgen
