// Lanes of a WaveRNN as a body: one stream at a time, its lanes side by side as the rows of the network's products.
#include <algorithm>
#include <cstring>

#include "bodies/shared_product.hpp"
#include "bodies/subscale.hpp"
#include "bodies/table.hpp"
#include "bodies/wavernn_body.hpp"

namespace seqgen {
namespace {

// The stream that is made, between two steps of its lanes or in the middle of one.
struct SubscaleCall final : BodyCall {
    SubscaleCall(Workspace& memory, const CallContext& context, const WaveRnn& network, const Subscale& subscale);

    // The place in the ring of samples that is `back` steps behind the next one.
    std::size_t behind(std::size_t back) const {
        return place.step >= back ? place.step - back : place.step + ring - back;
    }

    WaveRnnBuffers buffers{};
    SharedProduct product;
    LaneContext::Arrays lane_context{};
    const std::size_t ring;   // lane steps of the ring of samples
    float *vectors, *deltas;  // [frames][6 half] of conditioning, see Place::frame
    float* carried;           // [B][carried] the lanes' contexts, as a blob has them
    std::uint8_t* bytes;      // [B][channels] a context's outcome in 8 bits
    float* conditioning;      // [B][6 half] by the lanes before
    float* units;             // [steps][B] samples as the lanes read them, the last lane first
    std::int16_t* samples;    // [steps][B], the first lane first
    float scales[SEQGEN_MAX_STREAMS];
    Philox generators[SEQGEN_MAX_STREAMS];  // one for each lane: its positions come in order

    Subscale::Place place{};
    Frame frame{};
    std::int64_t along = 0;  // sample of the frame, counted as if nothing waited, that the step begins with
    int half = 0;            // that is drawn next: coarse or fine
};

SubscaleCall::SubscaleCall(Workspace& memory, const CallContext& context, const WaveRnn& network,
                           const Subscale& subscale)
    : BodyCall(context), product(network, buffers, context.helper), ring(subscale.steps()) {
    const std::size_t lanes = subscale.lanes(), gates = network.gates();
    network.reserve(buffers, memory, lanes);
    vectors = memory.floats(subscale.frames() * gates);
    deltas = memory.floats(subscale.frames() * gates);
    subscale.context().reserve(lane_context, memory);
    carried = memory.floats(lanes * subscale.context().carried());
    bytes = memory.bytes(lanes * subscale.context().channels());
    conditioning = memory.floats(lanes * gates);
    units = memory.floats(ring * lanes);
    samples = memory.array<std::int16_t>(ring * lanes);
}

SubscaleCall& own(BodyCall& call) { return static_cast<SubscaleCall&>(call); }

// The op `lanes`, around the body of the op `wavernn`.
class SubscaleBody final : public Body {
   public:
    SubscaleBody(const BodySource& source, std::unique_ptr<WaveRnnBody> inner)
        : inner_(std::move(inner)),
          network_(inner_->network()),
          subscale_(source, network_),
          vector_(network_.gates()),
          lanes_(static_cast<std::int64_t>(subscale_.lanes())),
          lag_(static_cast<std::int64_t>(subscale_.lag())),
          depth_(static_cast<std::int64_t>(subscale_.depth())),
          horizon_(static_cast<std::int64_t>(subscale_.horizon())) {
        subscale_.arrange(source.vector.data(), vector_.data());
    }

    BodyTraits traits() const override {
        BodyTraits traits = inner_->traits();
        traits.lanes = static_cast<int>(subscale_.lanes());
        traits.ahead = static_cast<int>(subscale_.ahead());
        traits.max_streams = 1;
        return traits;
    }

    bool draws_from(const std::string& name, const Json& op, const std::string& where) override {
        return inner_->draws_from(name, op, where);
    }
    std::size_t channels() const override { return inner_->channels(); }
    std::size_t weight_blocks() const override { return inner_->weight_blocks(); }
    std::size_t weight_bytes() const override { return inner_->weight_bytes() + subscale_.bytes(); }
    bool divisible() const override { return inner_->divisible(); }

    BodyStateBytes state_bytes() const override { return subscale_.state_bytes(); }

    void init(const BodyState& state) const override {
        state.header.coarse = inner_->start()[0];
        state.header.fine = inner_->start()[1];
        subscale_.init(state, vector_.data(), inner_->start());
    }

    bool fits(const StateHeader& header, const unsigned char* before) const override {
        return subscale_.fits(before, header.ahead > 0);
    }

    BodyCall* open(Workspace& memory, const CallContext& context) const override {
        return place_call<SubscaleCall>(memory, context, network_, subscale_);
    }

    void load(BodyCall& given, int stream, const BodyState& state) const override {
        SubscaleCall& call = own(given);
        call.buffers.now = 0;
        each_part(call, state,
                  [](void* array, const void* part, std::size_t bytes) { std::memcpy(array, part, bytes); });
        restore(call);
        for (Philox& generator : call.generators) generator = call.context.io.generator(stream);
    }

    void save(BodyCall& given, int, const BodyState& state) const override {
        SubscaleCall& call = own(given);
        const LaneContext& context = subscale_.context();
        for (std::size_t lane = 0; lane < subscale_.lanes(); ++lane) {
            context.save(call.lane_context, lane, call.carried + lane * context.carried());
        }
        each_part(call, state,
                  [](const void* array, void* part, std::size_t bytes) { std::memcpy(part, array, bytes); });
    }

    // The vector takes the place of the oldest one. What is made of the frame are the steps whose samples it completes,
    // and those of a fresh stream's beginning before them.
    void enter(BodyCall& given, const Frame& frame) const override {
        SubscaleCall& call = own(given);
        const std::size_t gates = network_.gates(), count = subscale_.frames(), newest = call.place.frame;
        float *vector = call.vectors + newest * gates, *delta = call.deltas + newest * gates;
        const float* before = call.vectors + (newest + count - 1) % count * gates;
        subscale_.arrange(frame.vectors, vector);
        for (std::size_t i = 0; i < gates; ++i) delta[i] = vector[i] - before[i];
        call.place.frame = static_cast<std::uint32_t>((newest + 1) % count);
        call.frame = frame;
        const bool makes = frame.first() < static_cast<std::int64_t>(call.context.hop);
        call.along = frame.first() - (makes && call.place.taken == 0 ? lanes_ * (depth_ + horizon_) : 0);
    }

    bool advance(BodyCall& given) const override {
        SubscaleCall& call = own(given);
        if (call.along >= static_cast<std::int64_t>(call.context.hop)) return false;
        if (call.half == 0) begin_step(call);
        if (call.buffers.rows == 0) return true;
        if (call.half == 1) call.product.multiply(1);
        network_.advance(call.buffers, call.half);
        return true;
    }

    void draw(BodyCall& given) const override {
        SubscaleCall& call = own(given);
        if (call.buffers.rows == 0) return finish_step(call);
        for (int lane = 0; lane < call.buffers.rows; ++lane) {
            // The noise of what lane 0 makes now lies D lane steps beyond what is given out.
            const std::int64_t sample = call.frame.origin + call.along + lanes_ * (depth_ - lag_ * lane) + lane;
            std::uint8_t(&bytes)[2] = call.place.bytes[lane];
            const Logits logits = network_.logits(call.buffers, call.half, lane);
            const int drawn = call.context.io.symbol(0, 2 * sample + call.half, logits, call.generators[lane]);
            if (call.half == 0) network_.set_inputs(call.buffers, lane, bytes[0], bytes[1], drawn);
            bytes[call.half] = static_cast<std::uint8_t>(drawn);
            if (call.half == 1) enter_sample(call, static_cast<std::size_t>(lane));
        }
        call.half = 1 - call.half;
        if (call.half == 1) return;
        call.buffers.now = 1 - call.buffers.now;
        finish_step(call);
    }

   private:
    template <typename Move>
    void each_part(SubscaleCall& call, const BodyState& state, Move&& move) const;
    void restore(SubscaleCall& call) const;
    void read(SubscaleCall& call, std::size_t lane, std::size_t back) const;
    void begin_step(SubscaleCall& call) const;
    void condition(SubscaleCall& call) const;
    void enter_sample(SubscaleCall& call, std::size_t lane) const;
    void finish_step(SubscaleCall& call) const;
    int started(std::int64_t steps) const;

    std::unique_ptr<WaveRnnBody> inner_;
    const WaveRnn& network_;
    Subscale subscale_;
    AlignedArray<float> vector_;  // of conditioning, before the first frame
    const std::int64_t lanes_, lag_, depth_, horizon_;
};

// Calls `move(array, part of the blob, bytes)` for every array of a state blob, in its order.
template <typename Move>
void SubscaleBody::each_part(SubscaleCall& call, const BodyState& state, Move&& move) const {
    const std::size_t lanes = subscale_.lanes();
    unsigned char* blob = state.before;
    const auto next = [&](void* array, std::size_t bytes) {
        if (bytes > 0) move(array, blob, bytes);
        blob += bytes;
    };
    next(&call.place, sizeof call.place);
    next(call.buffers.hidden[call.buffers.now], lanes * network_.state_bytes());
    next(call.vectors, subscale_.frames() * vector_.size() * sizeof(float));
    next(call.carried, lanes * subscale_.context().carried() * sizeof(float));
    blob = state.behind;
    next(call.samples, call.ring * lanes * sizeof(std::int16_t));
}

// What follows from a state and is not in it.
void SubscaleBody::restore(SubscaleCall& call) const {
    // Lanes start one after the other, in whichever of the two buffers is the one then.
    WaveRnnBuffers& buffers = call.buffers;
    const std::size_t lanes = subscale_.lanes(), gates = network_.gates(), count = subscale_.frames();
    const std::size_t hidden = lanes * 2 * network_.half();
    for (std::size_t lane = 0; lane < lanes; ++lane) network_.refresh(buffers, lane);
    std::copy_n(buffers.hidden[0], hidden, buffers.hidden[1]);
    std::copy_n(buffers.bytes[0], hidden, buffers.bytes[1]);
    for (std::size_t back = 1; back < count; ++back) {
        const std::size_t to = (call.place.frame + back) % count * gates;
        const std::size_t from = (call.place.frame + back - 1) % count * gates;
        for (std::size_t i = 0; i < gates; ++i) call.deltas[to + i] = call.vectors[to + i] - call.vectors[from + i];
    }
    for (std::size_t at = 0; at < call.ring * lanes; at += lanes) {
        for (std::size_t lane = 0; lane < lanes; ++lane) {
            call.units[at + lanes - 1 - lane] = static_cast<float>(call.samples[at + lane]) / subscale_.unit();
        }
    }
    const LaneContext& context = subscale_.context();
    context.clear(call.lane_context);
    for (std::size_t lane = 0; lane < lanes; ++lane) {
        context.load(call.lane_context, lane, call.carried + lane * context.carried());
        for (std::size_t back = 1; back < context.taps() && lane > 0; ++back) read(call, lane, back);
    }
}

// Lanes that begin within so many steps of lane 0.
int SubscaleBody::started(std::int64_t steps) const {
    return steps < 0 ? 0 : static_cast<int>(std::min(lanes_, steps / lag_ + 1));
}

// The context of all lanes that have begun to read, and what goes into the coarse half of those that make samples.
void SubscaleBody::begin_step(SubscaleCall& call) const {
    const auto taken = static_cast<std::int64_t>(call.place.taken);
    const int reading = started(taken);
    std::size_t counts[SEQGEN_MAX_STREAMS];
    for (int lane = 0; lane < reading; ++lane) {
        counts[lane] = static_cast<std::size_t>(taken - lane * lag_);
        if (lane > 0) read(call, static_cast<std::size_t>(lane), 0);
    }
    subscale_.context().step(call.lane_context, counts, reading);
    call.buffers.rows = started(taken - horizon_);
    if (call.buffers.rows == 0) return;
    call.product.multiply(0);
    subscale_.condition(call.lane_context.residual, call.bytes, {call.conditioning, network_.gates()}, call.scales,
                        call.buffers.rows);
    condition(call);
    for (int lane = 0; lane < call.buffers.rows; ++lane) {
        network_.set_inputs(call.buffers, lane, call.place.bytes[lane][0], call.place.bytes[lane][1], 0);
    }
}

// A lane reads, `horizon` lane steps ahead of itself, what the lanes before have made; or what it read some steps back.
void SubscaleBody::read(SubscaleCall& call, std::size_t lane, std::size_t back) const {
    const std::size_t lanes = subscale_.lanes();
    const float* units = call.units + call.behind(1 + subscale_.lag() * (lane - 1) + back) * lanes;
    std::copy_n(units + lanes - lane, lane, subscale_.context().row(call.lane_context, lane, back));
}

// Where each lane's sample lies between two frames: `back` samples before the one that the frame begins with.
void SubscaleBody::condition(SubscaleCall& call) const {
    const auto hop = static_cast<std::int64_t>(call.context.hop), count = static_cast<std::int64_t>(subscale_.frames());
    const std::size_t gates = network_.gates();
    for (int lane = 0; lane < call.buffers.rows; ++lane) {
        const std::int64_t vector =
            call.along - static_cast<std::int64_t>(subscale_.fill()) - lane * (lanes_ * lag_ - 1);
        const std::int64_t back = vector < 0 ? (hop - 1 - vector) / hop : 0;
        const std::int64_t newest = static_cast<std::int64_t>(call.place.frame) - 1;
        const auto at = static_cast<std::size_t>((newest - back + 2 * count) % count);
        const std::size_t before = at == 0 ? subscale_.frames() - 1 : at - 1;
        call.buffers.conditioning[lane] = {
            call.vectors + before * gates, call.deltas + at * gates, call.context.weights[vector + back * hop],
            call.conditioning + static_cast<std::size_t>(lane) * gates, call.scales[lane]};
    }
}

// The newest sample of a lane takes its place in the rings.
void SubscaleBody::enter_sample(SubscaleCall& call, std::size_t lane) const {
    const std::size_t lanes = subscale_.lanes(), row = call.behind(subscale_.lag() * lane) * lanes;
    const int sample = sample_of_bytes(call.place.bytes[lane][0], call.place.bytes[lane][1]);
    call.samples[row + lane] = static_cast<std::int16_t>(sample);
    call.units[row + lanes - 1 - lane] = static_cast<float>(sample) / subscale_.unit();
}

// Hands out the samples of the lane step that the last lane has completed.
void SubscaleBody::finish_step(SubscaleCall& call) const {
    const auto taken = static_cast<std::int64_t>(call.place.taken);
    const std::int16_t* samples = call.samples + call.behind(subscale_.depth()) * subscale_.lanes();
    for (std::int64_t lane = 0; lane < lanes_ && taken >= depth_ + horizon_; ++lane) {
        call.context.io.put_pcm(0, call.frame.origin + call.along + lane, 0, samples[lane]);
    }
    const auto settled = static_cast<std::uint32_t>(subscale_.settled());
    call.place.taken = std::min(settled, call.place.taken + 1);
    call.place.step = call.place.step + 1 == call.ring ? 0 : call.place.step + 1;
    call.along += lanes_;
}

}  // namespace

std::unique_ptr<Body> make_subscale(const BodySource& source, std::unique_ptr<Body> inner) {
    auto* network = dynamic_cast<WaveRnnBody*>(inner.get());
    if (network == nullptr) return nullptr;
    static_cast<void>(inner.release());
    return std::make_unique<SubscaleBody>(source, std::unique_ptr<WaveRnnBody>(network));
}

}  // namespace seqgen
