#include "bodies/wavernn_body.hpp"

#include <cstring>

#include "bodies/conditioning_ramp.hpp"
#include "bodies/shared_product.hpp"
#include "bodies/table.hpp"
#include "program/failure.hpp"

namespace seqgen {
namespace {

// Below this many bytes of weights a sample two threads spend more on waiting for each other than they save.
constexpr std::size_t kWorthSplitting = std::size_t{1} << 19;

// Streams side by side on their way through a frame, half a sample at a time.
struct WaveRnnCall final : BodyCall {
    WaveRnnCall(Workspace& memory, const CallContext& context, const WaveRnn& network)
        : BodyCall(context), ramp(memory, network.gates(), context.streams), product(network, buffers, context.helper) {
        network.reserve(buffers, memory, static_cast<std::size_t>(context.streams));
        buffers.rows = context.streams;
    }

    WaveRnnBuffers buffers{};
    ConditioningRamp ramp;
    SharedProduct product;
    Philox generators[SEQGEN_MAX_STREAMS];
    int bytes[SEQGEN_MAX_STREAMS][2];  // the newest coarse and fine byte
    Frame frame{};
    std::int64_t within = 0;  // vector of the frame that the next sample takes
    int half = 0;             // that is drawn next: coarse or fine
};

WaveRnnCall& own(BodyCall& call) { return static_cast<WaveRnnCall&>(call); }

WaveRnn read_network(const BodySource& source) {
    source.expect(!source.gain, "a level for a cell of bytes");
    return WaveRnn(source.op, source.tensors, source.format, source.kernels, source.where);
}

}  // namespace

WaveRnnBody::WaveRnnBody(const BodySource& source) : network_(read_network(source)), vector_(network_.gates()) {
    const auto& start = source.op.at("start", source.where).list(source.where);
    source.expect(start.size() == 2, "'start' is not two bytes");
    for (std::size_t i = 0; i < 2; ++i) start_[i] = static_cast<std::uint32_t>(start[i].integer(0, 255, source.where));
    source.expect_channels(channels());
    network_.arrange(source.vector.data(), vector_.data());
}

BodyTraits WaveRnnBody::traits() const {
    BodyTraits traits{"bytes16"};
    traits.symbols_per_sample = traits.num_uniforms = 2;
    return traits;
}

bool WaveRnnBody::draws_from(const std::string& name, const Json& op, const std::string& where) {
    if (name == "categorical") {
        op.at("classes", where).integer(kClasses, kClasses, where);
        return true;
    }
    if (Distribution::named(name, op, where) == nullptr) return false;
    throw Failure(SEQGEN_FORMAT, where + ": it draws real numbers, the cell reads symbols");
}

bool WaveRnnBody::divisible() const { return network_.bytes() >= kWorthSplitting; }

BodyStateBytes WaveRnnBody::state_bytes() const { return {network_.state_bytes() + vector_.size() * sizeof(float), 0}; }

void WaveRnnBody::init(const BodyState& state) const {
    state.header.coarse = start_[0];
    state.header.fine = start_[1];
    std::memcpy(state.before + network_.state_bytes(), vector_.data(), vector_.size() * sizeof(float));
}

BodyCall* WaveRnnBody::open(Workspace& memory, const CallContext& context) const {
    return place_call<WaveRnnCall>(memory, context, network_);
}

void WaveRnnBody::load(BodyCall& given, int stream, const BodyState& state) const {
    WaveRnnCall& call = own(given);
    WaveRnnBuffers& buffers = call.buffers;
    const auto row = static_cast<std::size_t>(stream);
    std::memcpy(buffers.hidden[buffers.now] + row * 2 * network_.half(), state.before, network_.state_bytes());
    network_.refresh(buffers, row);
    call.ramp.load(stream, state.before + network_.state_bytes());
    buffers.conditioning[stream] = {call.ramp.from(row), call.ramp.delta(row), 0.0f, nullptr, 0.0f};
    call.bytes[stream][0] = static_cast<int>(state.header.coarse);
    call.bytes[stream][1] = static_cast<int>(state.header.fine);
    call.generators[stream] = call.context.io.generator(stream);
}

void WaveRnnBody::save(BodyCall& given, int stream, const BodyState& state) const {
    WaveRnnCall& call = own(given);
    const WaveRnnBuffers& buffers = call.buffers;
    const float* hidden = buffers.hidden[buffers.now] + static_cast<std::size_t>(stream) * 2 * network_.half();
    std::memcpy(state.before, hidden, network_.state_bytes());
    call.ramp.save(stream, state.before + network_.state_bytes());
    state.header.coarse = static_cast<std::uint32_t>(call.bytes[stream][0]);
    state.header.fine = static_cast<std::uint32_t>(call.bytes[stream][1]);
}

void WaveRnnBody::enter(BodyCall& given, const Frame& frame) const {
    WaveRnnCall& call = own(given);
    call.ramp.enter(frame, 0, [&](const float* vector, float* made) { network_.arrange(vector, made); });
    call.frame = frame;
    call.within = frame.first();
}

bool WaveRnnBody::advance(BodyCall& given) const {
    WaveRnnCall& call = own(given);
    if (call.within >= static_cast<std::int64_t>(call.context.hop)) return false;
    for (int s = 0; call.half == 0 && s < call.context.streams; ++s) {
        call.buffers.conditioning[s].weight = call.context.weights[call.within];
        network_.set_inputs(call.buffers, s, call.bytes[s][0], call.bytes[s][1], 0);
    }
    call.product.multiply(call.half);
    network_.advance(call.buffers, call.half);
    return true;
}

void WaveRnnBody::draw(BodyCall& given) const {
    WaveRnnCall& call = own(given);
    const SampleIO& io = call.context.io;
    const std::int64_t sample = call.frame.origin + call.within;
    for (int s = 0; s < call.context.streams; ++s) {
        int* bytes = call.bytes[s];
        const Logits logits = network_.logits(call.buffers, call.half, s);
        const int drawn = io.symbol(s, 2 * sample + call.half, logits, call.generators[s]);
        if (call.half == 0) network_.set_inputs(call.buffers, s, bytes[0], bytes[1], drawn);
        bytes[call.half] = drawn;
        if (call.half == 1)
            io.put_pcm(s, sample, static_cast<std::size_t>(call.within), sample_of_bytes(bytes[0], drawn));
    }
    if (call.half == 1) {
        call.buffers.now = 1 - call.buffers.now;
        ++call.within;
    }
    call.half = 1 - call.half;
}

std::unique_ptr<Body> make_wavernn(const BodySource& source, std::unique_ptr<Body>) {
    return std::make_unique<WaveRnnBody>(source);
}

}  // namespace seqgen
