// Sum of bands: a filter bank that puts samples together from the numbers of its bands.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>
#include <vector>

#include "program/failure.hpp"
#include "program/json.hpp"

namespace seqgen {

// As seqgen/audio/filter_bank.py has it: x_t = Σ_i w_{t mod M}[i] e_{t-P+i}, i = 0 … P - 1.
class Bands {
   public:
    static constexpr std::int64_t kMostBands = 16;
    static constexpr std::size_t kMostPast = 1 << 12;

    // Of an op's `weights`, M rows of P numbers. Raises Failure(SEQGEN_FORMAT).
    Bands(const Json& op, const std::string& where) {
        const auto& rows = op.at("weights", where).list(where);
        bands_ = rows.size();
        bool right = bands_ >= 2 && bands_ <= kMostBands;
        for (std::size_t row = 0; right && row < bands_; ++row) {
            const auto& numbers = rows[row].list(where);
            if (row == 0) past_ = numbers.size();
            right = numbers.size() == past_ && past_ > 0 && past_ <= kMostPast;
            for (std::size_t i = 0; right && i < past_; ++i) {
                const double number = numbers[i].real(where);
                right = std::isfinite(number) && std::fabs(number) < 1e6;
                weights_.push_back(static_cast<float>(number));
            }
        }
        if (!right) throw Failure(SEQGEN_FORMAT, where + ": 'weights' are not 2 to 16 rows of as many numbers");
    }

    std::size_t bands() const { return bands_; }
    // Floats that a stream carries, the past, oldest first. Those of a fresh one are zeros.
    std::size_t carried() const { return past_; }

    // The sample that the numbers before `value` make, which is of this band.
    float sum(std::size_t band, float value, float* past) const {
        const float* row = weights_.data() + band * past_;
        float made = 0;
        for (std::size_t i = 0; i < past_; ++i) made += row[i] * past[i];
        std::copy(past + 1, past + past_, past);
        past[past_ - 1] = value;
        return made;
    }

   private:
    std::size_t bands_ = 0, past_ = 0;
    std::vector<float> weights_;
};

}  // namespace seqgen
