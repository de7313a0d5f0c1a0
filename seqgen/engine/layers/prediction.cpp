#include "layers/prediction.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "program/failure.hpp"

namespace seqgen {
namespace {

constexpr int kUnit = 4096;

std::int16_t clip16(double value) { return static_cast<std::int16_t>(std::clamp(value, -32768.0, 32767.0)); }

}  // namespace

Prediction::Prediction(const Json& op, const Tensors& tensors, std::size_t channels, std::size_t hop,
                       std::size_t latency, const std::string& where)
    : waiting_((latency + hop - 1) / hop), hop_(hop) {
    const auto named = [&](const char* name) { return op.at(name, where).string(where); };
    start_ = waiting_ * hop - latency;
    silence_ = static_cast<float>(op.at("silence", where).real(where));
    if (!std::isfinite(silence_)) throw Failure(SEQGEN_FORMAT, where + ": 'silence' does not fit into float32");
    std::vector<std::int64_t> shape = {-1};
    level_ = tensors.doubles(named("level"), shape);
    bands_ = level_.size();
    if (bands_ > channels) throw Failure(SEQGEN_FORMAT, where + ": more bands than channels");
    shape = {static_cast<std::int64_t>(bands_), -1};
    envelope_ = tensors.doubles(named("envelope"), shape);
    bins_ = static_cast<std::size_t>(shape[1]);
    shape = {static_cast<std::int64_t>(bins_), -1};
    correlation_ = tensors.doubles(named("correlation"), shape);
    order_ = static_cast<std::size_t>(shape[1] - 1);
    if (order_ < 1 || order_ > kLongest) {
        throw Failure(SEQGEN_UNSUPPORTED, where + ": order " + std::to_string(order_) + ", known are 1 to 32");
    }
}

void Prediction::init(std::int16_t* carried) const {
    std::vector<float> mel(bands_, silence_);
    std::vector<double> power(bins_);
    coefficients(mel.data(), carried, power.data());
    for (std::size_t frame = 1; frame <= waiting_; ++frame) std::copy_n(carried, order_, carried + frame * order_);
    std::fill_n(carried + (waiting_ + 1) * order_, order_, std::int16_t{0});
}

void Prediction::frame(const float* features, std::int16_t* carried, double* scratch) const {
    std::memmove(carried, carried + order_, waiting_ * order_ * sizeof *carried);
    coefficients(features, carried + waiting_ * order_, scratch);
}

void Prediction::coefficients(const float* mel, std::int16_t* made, double* power) const {
    std::fill_n(power, bins_, 0.0);
    for (std::size_t band = 0; band < bands_; ++band) {
        const double value = static_cast<double>(mel[band]) - level_[band];
        const double* row = envelope_.data() + band * bins_;
        for (std::size_t bin = 0; bin < bins_; ++bin) power[bin] += value * row[bin];
    }
    double r[kLongest + 1] = {};
    for (std::size_t bin = 0; bin < bins_; ++bin) {
        const double here = std::exp(2 * power[bin]);
        const double* row = correlation_.data() + bin * (order_ + 1);
        for (std::size_t lag = 0; lag <= order_; ++lag) r[lag] += here * row[lag];
    }
    double c[kLongest] = {}, before[kLongest], error = r[0];
    for (std::size_t n = 0; n < order_; ++n) {  // Levinson's recursion
        double known = 0;
        for (std::size_t k = 0; k < n; ++k) known += c[k] * r[n - k];
        const double reflection = (r[n + 1] - known) / error;
        std::copy_n(c, n, before);
        for (std::size_t k = 0; k < n; ++k) c[k] = before[k] - reflection * before[n - 1 - k];
        c[n] = reflection;
        error *= 1 - reflection * reflection;
    }
    for (std::size_t k = 0; k < order_; ++k) {
        // Features far outside those of sound may leave no number at all; silence is then as good as any.
        made[k] = std::isfinite(c[k]) ? clip16(std::nearbyint(c[k] * kUnit)) : std::int16_t{0};
    }
}

int Prediction::synthesise(int error, std::size_t index, std::int16_t* carried) const {
    const std::int16_t* c = carried + (start_ + index) / hop_ * order_;
    std::int16_t* past = carried + (waiting_ + 1) * order_;
    std::int64_t sum = kUnit / 2;
    for (std::size_t k = 0; k < order_; ++k) sum += static_cast<std::int64_t>(c[k]) * past[k];
    const std::int64_t guess = sum >= 0 ? sum / kUnit : -((kUnit - 1 - sum) / kUnit);
    const auto made = static_cast<int>(std::clamp<std::int64_t>(error + guess, -32768, 32767));
    std::memmove(past + 1, past, (order_ - 1) * sizeof *past);
    past[0] = static_cast<std::int16_t>(made);
    return made;
}

}  // namespace seqgen
