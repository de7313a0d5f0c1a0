#include "layers/distribution.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "kernels/functions.hpp"
#include "program/failure.hpp"

namespace seqgen {
namespace {

constexpr std::int64_t kMostMixtures = 256, kMostLevels = 1 << 16;
constexpr double kLongestLog = 80;  // of a scale: e^80 and e^-80 are normal float32 numbers

// In [-1, 1]; NaN counts as 1.
float held(float value) { return value < 1.0f ? (value > -1.0f ? value : -1.0f) : 1.0f; }

// A log-scale as outputs tell it, with the scale that an output of 0 stands for and a least one.
struct Scale {
    float origin, least;

    static Scale read(const Json& op, const std::string& where) {
        const auto log_scale = [&](const char* name) {
            return static_cast<float>(number(op, name, -kLongestLog, kLongestLog, where));
        };
        return {log_scale("origin"), log_scale("min_log_scale")};
    }
    float operator()(float output) const {
        const float log_scale = output + origin;
        return exponential(log_scale > least ? log_scale : least);
    }
};

// ln p(x) = ln Σ_k π_k Logistic(x; m_k, s_k), rounded to one of `levels`; outputs are logits, means, log-scales.
class Mixture : public Distribution {
   public:
    Mixture(const Json& op, const std::string& where)
        : mixtures_(static_cast<std::size_t>(op.at("mixtures", where).integer(1, kMostMixtures, where + ": mixtures"))),
          top_(static_cast<float>(op.at("levels", where).integer(2, kMostLevels, where + ": levels") - 1)),
          scale_(Scale::read(op, where)) {}

    std::size_t num_params() const override { return 3 * mixtures_; }
    int num_uniforms() const override { return 2; }

    void amplify(float* params, float gain) const override {
        const float factor = exponential(gain);
        for (std::size_t k = 0; k < mixtures_; ++k) {
            params[mixtures_ + k] *= factor;
            params[2 * mixtures_ + k] += gain;
        }
    }

    // The first uniform picks a component, the second is its logistic's distribution function.
    float sample(const float* params, const float* uniforms, float temperature) const override {
        const std::size_t k = component(params, uniforms[0]);
        const double u = inside(uniforms[1]);
        const auto noise = static_cast<float>(logarithm(u) - logarithm(1.0 - u));
        const float mean = params[mixtures_ + k], spread = temperature * scale_(params[2 * mixtures_ + k]);
        const float level = std::nearbyint((held(mean + spread * noise) + 1.0f) * (top_ / 2.0f));
        return level * (2.0f / top_) - 1.0f;
    }

   private:
    // The first component whose cumulative sum passes u times all of them, else the last.
    std::size_t component(const float* logits, float u) const {
        double most = logits[0], sums[kMostMixtures], total = 0;
        for (std::size_t k = 1; k < mixtures_; ++k) most = std::max<double>(most, logits[k]);
        for (std::size_t k = 0; k < mixtures_; ++k) sums[k] = total += exponential(logits[k] - most);
        std::size_t k = 0;
        while (k + 1 < mixtures_ && sums[k] <= u * total) ++k;
        return k;
    }

    std::size_t mixtures_;
    float top_;
    Scale scale_;
};

// x = m + s Φ⁻¹(u); outputs are the mean and the log-scale.
class Gaussian : public Distribution {
   public:
    Gaussian(const Json& op, const std::string& where) : scale_(Scale::read(op, where)) {}

    std::size_t num_params() const override { return 2; }
    int num_uniforms() const override { return 1; }

    void amplify(float* params, float gain) const override {
        params[0] *= exponential(gain);
        params[1] += gain;
    }

    float sample(const float* params, const float* uniforms, float temperature) const override {
        const float spread = temperature * scale_(params[1]);
        return held(params[0] + spread * static_cast<float>(normal_quantile(uniforms[0])));
    }

   private:
    Scale scale_;
};

}  // namespace

double number(const Json& op, const char* name, double low, double high, const std::string& where) {
    const double found = op.at(name, where).real(where + ": " + name);
    if (!(found >= low && found <= high)) {
        throw Failure(SEQGEN_FORMAT, where + ": '" + name + "' is " + std::to_string(found) + ", known are " +
                                         std::to_string(low) + " to " + std::to_string(high));
    }
    return found;
}

std::unique_ptr<Distribution> Distribution::named(const std::string& name, const Json& op, const std::string& where) {
    if (name == "logistic-mixture") return std::make_unique<Mixture>(op, where);
    if (name == "gaussian") return std::make_unique<Gaussian>(op, where);
    return nullptr;
}

LogGain LogGain::read(const Json& op, const std::string& where) {
    constexpr double kLeast = 1e-6, kMost = 1e6;
    const double spread = number(op, "spread", kLeast, kMost, where);
    const double typical = number(op, "typical", kLeast, kMost, where);
    return {static_cast<float>(spread), static_cast<float>(logarithm(typical))};
}

}  // namespace seqgen
