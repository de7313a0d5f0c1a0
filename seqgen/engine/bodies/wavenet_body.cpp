// WaveNet as a body: one symbol of µ-law or one real number after the other.
#include <algorithm>
#include <array>
#include <cstring>

#include "bodies/conditioning_ramp.hpp"
#include "bodies/table.hpp"
#include "bodies/wavenet.hpp"
#include "program/failure.hpp"

namespace seqgen {
namespace {

// Streams side by side on their way through a frame.
struct WaveNetCall final : BodyCall {
    WaveNetCall(Workspace& memory, const CallContext& context, const WaveNet& network)
        : BodyCall(context), ramp(memory, network.vector(), context.streams) {
        network.reserve(buffers, memory, static_cast<std::size_t>(context.streams));
        network.reserve_far(buffers, memory);
        buffers.from = ramp.from(0);
        buffers.delta = ramp.delta(0);
        buffers.streams = context.streams;
        buffers.times = 1;
    }

    WaveNetBuffers buffers{};
    ConditioningRamp ramp;
    Philox generators[SEQGEN_MAX_STREAMS];
    int symbols[SEQGEN_MAX_STREAMS];  // the newest ones, where samples are symbols
    Frame frame{};
    std::int64_t within = 0;  // vector of the frame that the next sample takes
};

WaveNetCall& own(BodyCall& call) { return static_cast<WaveNetCall&>(call); }

// The op `wavenet`.
class WaveNetBody final : public Body {
   public:
    explicit WaveNetBody(const BodySource& source)
        : network_(source.op, source.tensors, source.format, source.kernels, source.gain, source.where),
          vector_(network_.vector()) {
        source.expect(!source.gain || !network_.reads_symbols(), "a level for a stack of symbols");
        if (network_.reads_symbols()) {
            const Json& start = source.op.at("start", source.where);
            start_symbol_ = static_cast<std::uint32_t>(start.integer(0, 255, source.where));
        } else {
            start_value_ = static_cast<float>(number(source.op, "start", -1, 1, source.where));
        }
        source.expect_channels(channels());
        network_.arrange(source.vector.data(), vector_.data());
    }

    BodyTraits traits() const override {
        if (network_.reads_symbols()) return {"mulaw8"};
        BodyTraits traits{"float"};
        traits.classes = 0;
        if (distribution_ == nullptr) return traits;
        traits.num_uniforms = distribution_->num_uniforms();
        traits.num_params = distribution_->num_params();
        return traits;
    }

    bool draws_from(const std::string& name, const Json& op, const std::string& where) override {
        const auto expect = [&](bool right, const char* otherwise) {
            if (!right) throw Failure(SEQGEN_FORMAT, where + ": " + otherwise);
        };
        if (name == "categorical") {
            op.at("classes", where).integer(kClasses, kClasses, where);
            expect(network_.reads_symbols(), "it draws symbols, the cell reads real numbers");
            expect(network_.num_outputs() == kClasses, "'out' does not make 256 logits");
            return true;
        }
        distribution_ = Distribution::named(name, op, where);
        if (distribution_ == nullptr) return false;
        expect(!network_.reads_symbols(), "it draws real numbers, the cell reads symbols");
        expect(network_.num_outputs() == distribution_->num_params(), "'out' does not make its parameters");
        return true;
    }

    std::size_t channels() const override { return network_.channels(); }
    std::size_t weight_blocks() const override { return network_.blocks(); }
    std::size_t weight_bytes() const override { return network_.bytes(); }

    BodyStateBytes state_bytes() const override { return {network_.state_bytes() + vector_.size() * sizeof(float), 0}; }

    void init(const BodyState& state) const override {
        state.header.coarse = start_symbol_;
        state.header.previous = start_value_;
        network_.init(state.before);
        std::memcpy(state.before + network_.state_bytes(), vector_.data(), vector_.size() * sizeof(float));
    }

    bool fits(const StateHeader&, const unsigned char* before) const override { return network_.fits(before); }

    BodyCall* open(Workspace& memory, const CallContext& context) const override {
        return place_call<WaveNetCall>(memory, context, network_);
    }

    // The network's rings stay where they are, in the caller's blob.
    void load(BodyCall& given, int stream, const BodyState& state) const override {
        WaveNetCall& call = own(given);
        network_.load(call.buffers, stream, state.before);
        call.ramp.load(stream, state.before + network_.state_bytes());
        call.symbols[stream] = static_cast<int>(state.header.coarse);
        call.buffers.previous[stream] = state.header.previous;
        call.generators[stream] = call.context.io.generator(stream);
    }

    void save(BodyCall& given, int stream, const BodyState& state) const override {
        WaveNetCall& call = own(given);
        network_.save(call.buffers, stream, state.before);
        call.ramp.save(stream, state.before + network_.state_bytes());
        state.header.coarse = static_cast<std::uint32_t>(call.symbols[stream]);
        state.header.previous = call.buffers.previous[stream];
    }

    void enter(BodyCall& given, const Frame& frame) const override {
        WaveNetCall& call = own(given);
        call.ramp.enter(frame, 0, [&](const float* vector, float* made) { network_.arrange(vector, made); });
        call.buffers.new_frame = true;
        call.frame = frame;
        call.within = frame.first();
    }

    bool advance(BodyCall& given) const override {
        WaveNetCall& call = own(given);
        if (call.within >= static_cast<std::int64_t>(call.context.hop)) return false;
        call.buffers.weights = call.context.weights + call.within;
        call.buffers.samples_left = call.context.io.samples() - (call.frame.origin + call.within);
        network_.advance(call.buffers, call.symbols);
        return true;
    }

    void draw(BodyCall& given) const override {
        WaveNetCall& call = own(given);
        const SampleIO& io = call.context.io;
        const auto within = static_cast<std::size_t>(call.within);
        const std::int64_t sample = call.frame.origin + call.within++;
        for (int s = 0; s < call.context.streams; ++s) {
            if (distribution_ == nullptr) {
                call.symbols[s] = io.symbol(s, sample, network_.logits(call.buffers, s), call.generators[s]);
                io.put(s, sample, within, values_[static_cast<std::size_t>(call.symbols[s])]);
                continue;
            }
            const float* params = network_.params(call.buffers, s, *distribution_);
            const float value = io.value(s, sample, *distribution_, params, call.generators[s]);
            call.buffers.previous[s] = value;
            io.put(s, sample, within, value);
        }
    }

   private:
    WaveNet network_;
    AlignedArray<float> vector_;                  // of conditioning, before the first frame
    std::uint32_t start_symbol_ = 0;              // before the first sample
    float start_value_ = 0;                       // the same where samples are real numbers
    std::unique_ptr<Distribution> distribution_;  // of real numbers
    std::array<float, kClasses> values_ = mulaw_values();
};

}  // namespace

std::unique_ptr<Body> make_wavenet(const BodySource& source, std::unique_ptr<Body>) {
    return std::make_unique<WaveNetBody>(source);
}

}  // namespace seqgen
