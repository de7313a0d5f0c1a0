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

constexpr std::size_t kMostFlows = 16, kOutputs = 2;

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
             std::optional<LogGain> gain, const std::string& where)
    : gain_(gain) {
    const auto& list = op.at("flows", where).list(where);
    if (list.empty() || list.size() > kMostFlows) {
        throw Failure(SEQGEN_FORMAT, where + ": " + std::to_string(list.size()) + " flows, known are 1 to 16");
    }
    for (const Json& each : list) {
        constexpr double kMostShift = 100, kLeast = 1e-9;
        const double shift = number(each, "shift", -kMostShift, kMostShift, where);
        const double floor = number(each, "floor", kLeast, 1, where);
        flows_.push_back(
            {WaveNet(each, tensors, format, kernels, std::nullopt, where), shift, floor, vector_, state_bytes_});
        const WaveNet& network = flows_.back().network;
        if (network.reads_symbols() || network.num_outputs() != kOutputs || !network.takes_blocks()) {
            throw Failure(SEQGEN_FORMAT,
                          where +
                              ": a flow's network has a context, or does not make mean and scale of real "
                              "numbers");
        }
        vector_ += network.vector();
        state_bytes_ += network.state_bytes() + sizeof(float);
        Workspace counted;
        WaveNetBuffers buffers{};
        network.reserve(buffers, counted, FlowBlock::kMost);
        scratch_ = std::max(scratch_, counted.size());
    }
    vector_ += gain_ ? kSimdWidth : 0;
    divide();
}

void Flows::divide() {
    std::size_t all = 0, before = 0, most = SIZE_MAX;
    for (const Flow& flow : flows_) all += flow.network.layers();
    for (std::size_t count = 0; count < flows_.size(); ++count) {
        const std::size_t larger = std::max(before, all - before);
        if (larger < most) {
            most = larger;
            behind_ = count;
        }
        before += flows_[count].network.layers();
    }
}

std::size_t Flows::channels() const {
    const auto add = [](std::size_t sum, const Flow& flow) { return sum + flow.network.channels(); };
    return std::accumulate(flows_.begin(), flows_.end(), std::size_t{gain_ ? 1u : 0u}, add);
}

void Flows::arrange(const float* vector, float* made) const {
    for (const Flow& flow : flows_) {
        flow.network.arrange(vector, made + flow.first);
        vector += flow.network.channels();
    }
    if (gain_) made[vector_ - kSimdWidth] = gain_->spread * *vector + gain_->origin;
}

std::size_t Flows::blocks() const {
    const auto add = [](std::size_t sum, const Flow& flow) { return sum + flow.network.blocks(); };
    return std::accumulate(flows_.begin(), flows_.end(), std::size_t{0}, add);
}

std::size_t Flows::bytes() const {
    const auto add = [](std::size_t sum, const Flow& flow) { return sum + flow.network.bytes(); };
    return std::accumulate(flows_.begin(), flows_.end(), std::size_t{0}, add);
}

void Flows::init(unsigned char* state) const {
    std::memset(state, 0, state_bytes_);
    for (const Flow& flow : flows_) flow.network.init(state + flow.state);
}

bool Flows::fits(const unsigned char* state) const {
    return std::all_of(flows_.begin(), flows_.end(), [&](const Flow& flow) {
        float newest;
        std::memcpy(&newest, state + flow.state + flow.network.state_bytes(), sizeof newest);
        return flow.network.fits(state + flow.state) && std::isfinite(newest);
    });
}

void Flows::run(int part, void* scratch, FlowBlock& block) const {
    if (part == 0) {
        std::fill_n(block.mean, block.times, 0.0f);
        std::fill_n(block.scale, block.times, 1.0f);
    }
    const std::size_t first = part == 0 ? 0 : behind_, last = part == 0 ? behind_ : flows_.size();
    for (std::size_t i = first; i < last; ++i) pass(flows_[i], scratch, block);
    if (part == 1 && gain_) amplify(block);
}

void Flows::pass(const Flow& flow, void* scratch, FlowBlock& block) const {
    const WaveNet& network = flow.network;
    unsigned char *state = block.state + flow.state, *carried = state + network.state_bytes();
    Workspace memory(scratch);
    WaveNetBuffers buffers{};
    network.reserve(buffers, memory, FlowBlock::kMost);
    buffers.from = block.from + flow.first;
    buffers.delta = block.delta + flow.first;
    buffers.weights = block.weights;
    buffers.streams = 1;
    buffers.times = block.times;
    network.load(buffers, 0, state);
    float newest;
    std::memcpy(&newest, carried, sizeof newest);
    for (int t = 0; t < block.times; ++t) {
        buffers.previous[t] = newest;
        newest = held(block.noise[t] * block.scale[t] + block.mean[t]);
    }
    std::memcpy(carried, &newest, sizeof newest);
    network.advance(buffers, nullptr);
    for (int t = 0; t < block.times; ++t) {
        const float* made = network.outputs(buffers, t);
        const auto scale = static_cast<float>(flow.floor + softplus(static_cast<double>(made[1]) + flow.shift));
        block.mean[t] = held(block.mean[t] * scale + made[0]);
        block.scale[t] = held(block.scale[t] * scale);
    }
    network.save(buffers, 0, state);
}

// Samples are e^gain times what the flows make.
void Flows::amplify(FlowBlock& block) const {
    const std::size_t at = vector_ - kSimdWidth;
    for (int t = 0; t < block.times; ++t) {
        const float factor = exponential(block.from[at] + block.weights[t] * block.delta[at]);
        block.mean[t] *= factor;
        block.scale[t] *= factor;
    }
}

}  // namespace seqgen
