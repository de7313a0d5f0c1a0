#include "bodies/flows.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <numeric>

#include "kernels/functions.hpp"
#include "program/failure.hpp"

namespace seqgen {
namespace {

constexpr std::size_t kMostFlows = 16, kAlignment = 64, kOutputs = 2;

std::size_t aligned(std::size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// Finite, so that there is a state to go on from.
float held(float value) {
    constexpr float kMost = 1e30f;
    return value < kMost ? (value > -kMost ? value : -kMost) : kMost;
}

double softplus(double x) {
    const double size = x < 0 ? -x : x;
    return (x > 0 ? x : 0) + logarithm(1.0 + exponential(-size));
}

}  // namespace

Flows::Flows(const Json& op, const Tensors& tensors, seqgen_format format, const Kernels& kernels,
             std::optional<LogGain> level, const std::string& where)
    : level_(level) {
    const auto& list = op.at("flows", where).list(where);
    if (list.empty() || list.size() > kMostFlows) {
        throw Failure(SEQGEN_FORMAT, where + ": " + std::to_string(list.size()) + " flows, known are 1 to 16");
    }
    for (const Json& each : list) {
        constexpr double kMostShift = 100, kLeast = 1e-9;
        const double shift = number(each, "shift", -kMostShift, kMostShift, where);
        const double floor = number(each, "floor", kLeast, 1, where);
        flows_.push_back({WaveNet(each, tensors, format, kernels, std::nullopt, where), shift, floor, given_, state_bytes_});
        const WaveNet& stack = flows_.back().stack;
        if (!stack.real() || stack.width() != kOutputs || !stack.divisible()) {
            throw Failure(SEQGEN_FORMAT, where + ": a flow's network has a context, or does not make mean and scale of real "
                                                 "numbers");
        }
        given_ += stack.given();
        state_bytes_ += stack.state_bytes() + sizeof(float);
        WaveNetBuffers lanes{};
        std::size_t bytes = 0;
        stack.reserve(lanes, [&](std::size_t row) -> void* {
            bytes += aligned(row * FlowBlock::kMost);
            return nullptr;
        });
        scratch_ = std::max(scratch_, bytes);
    }
    given_ += level_ ? kSimdWidth : 0;
    divide();
}

void Flows::divide() {
    std::size_t all = 0, before = 0, most = SIZE_MAX;
    for (const Flow& flow : flows_) all += flow.stack.layers();
    for (std::size_t count = 0; count < flows_.size(); ++count) {
        const std::size_t larger = std::max(before, all - before);
        if (larger < most) {
            most = larger;
            behind_ = count;
        }
        before += flows_[count].stack.layers();
    }
}

void Flows::read_noise(const Json& op, const std::string& where) {
    constexpr double kLeast = 1e-7, kMost = 0.1;  // less is nothing beside 1 in float32
    truncation_ = static_cast<float>(number(op, "truncation", kLeast, kMost, where));
}

std::size_t Flows::given() const { return given_; }

std::size_t Flows::vector() const {
    const auto add = [](std::size_t sum, const Flow& flow) { return sum + flow.stack.vector(); };
    return std::accumulate(flows_.begin(), flows_.end(), std::size_t{level_ ? 1u : 0u}, add);
}

void Flows::arrange(const float* vector, float* made) const {
    for (const Flow& flow : flows_) {
        flow.stack.arrange(vector, made + flow.first);
        vector += flow.stack.vector();
    }
    if (level_) made[given_ - kSimdWidth] = level_->spread * *vector + level_->origin;
}

std::size_t Flows::blocks() const {
    const auto add = [](std::size_t sum, const Flow& flow) { return sum + flow.stack.blocks(); };
    return std::accumulate(flows_.begin(), flows_.end(), std::size_t{0}, add);
}

std::size_t Flows::bytes() const {
    const auto add = [](std::size_t sum, const Flow& flow) { return sum + flow.stack.bytes(); };
    return std::accumulate(flows_.begin(), flows_.end(), std::size_t{0}, add);
}

std::size_t Flows::state_bytes() const { return state_bytes_; }

void Flows::init(unsigned char* state) const {
    std::memset(state, 0, state_bytes_);
    for (const Flow& flow : flows_) flow.stack.init(state + flow.state);
}

bool Flows::fits(const unsigned char* state) const {
    return std::all_of(flows_.begin(), flows_.end(), [&](const Flow& flow) {
        float newest;
        std::memcpy(&newest, state + flow.state + flow.stack.state_bytes(), sizeof newest);
        return flow.stack.fits(state + flow.state) && std::isfinite(newest);
    });
}

float Flows::noise(float uniform) const {
    const float most = 1.0f - truncation_;
    const double u = uniform > truncation_ ? (uniform < most ? uniform : most) : truncation_;
    return static_cast<float>(logarithm(u) - logarithm(1.0 - u));
}

void Flows::run(int part, unsigned char* scratch, FlowBlock& block) const {
    if (part == 0) {
        std::fill_n(block.mean, block.times, 0.0f);
        std::fill_n(block.scale, block.times, 1.0f);
    }
    const std::size_t first = part == 0 ? 0 : behind_, last = part == 0 ? behind_ : flows_.size();
    for (std::size_t i = first; i < last; ++i) pass(flows_[i], scratch, block);
    if (part == 1 && level_) louder(block);
}

void Flows::pass(const Flow& flow, unsigned char* scratch, FlowBlock& block) const {
    const WaveNet& stack = flow.stack;
    unsigned char *state = block.state + flow.state, *carried = state + stack.state_bytes();
    WaveNetBuffers lanes{};
    stack.reserve(lanes, [&](std::size_t row) -> void* {
        unsigned char* taken = scratch;
        scratch += aligned(row * FlowBlock::kMost);
        return taken;
    });
    lanes.from = block.from + flow.first;
    lanes.delta = block.delta + flow.first;
    lanes.weights = block.weights;
    lanes.streams = 1;
    lanes.times = block.times;
    stack.load(lanes, 0, state);
    float newest;
    std::memcpy(&newest, carried, sizeof newest);
    for (int t = 0; t < block.times; ++t) {
        lanes.previous[t] = newest;
        newest = held(block.noise[t] * block.scale[t] + block.mean[t]);
    }
    std::memcpy(carried, &newest, sizeof newest);
    stack.advance(lanes, nullptr);
    for (int t = 0; t < block.times; ++t) {
        const float* made = stack.outputs(lanes, t);
        const auto scale = static_cast<float>(flow.floor + softplus(static_cast<double>(made[1]) + flow.shift));
        block.mean[t] = held(block.mean[t] * scale + made[0]);
        block.scale[t] = held(block.scale[t] * scale);
    }
    stack.save(lanes, 0, state);
}

// Of a levelled voice the samples are e^level times what the flows make.
void Flows::louder(FlowBlock& block) const {
    const std::size_t at = given_ - kSimdWidth;
    for (int t = 0; t < block.times; ++t) {
        const float gain = exponential(block.from[at] + block.weights[t] * block.delta[at]);
        block.mean[t] *= gain;
        block.scale[t] *= gain;
    }
}

}  // namespace seqgen
