// Parallel WaveNet's student as a body: logistic noise goes through flows, a block of samples at a time.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "bodies/conditioning_ramp.hpp"
#include "bodies/flow_pipeline.hpp"
#include "bodies/table.hpp"
#include "kernels/functions.hpp"

namespace seqgen {
namespace {

constexpr float kMostNoise = 1e3f;
constexpr std::size_t kMeanAndLogScale = 2;

// Streams one after the other on their way through a frame.
struct ParallelWaveNetCall final : BodyCall {
    // Two sets of vectors, since some samples of a frame may still be made when the next one begins.
    ParallelWaveNetCall(Workspace& memory, const CallContext& context, const Flows& flows)
        : BodyCall(context),
          pipeline(memory, flows, context.helper),
          ramp(memory, flows.vector(), context.streams, 2) {}

    FlowPipeline pipeline;
    ConditioningRamp ramp;
    Philox generators[SEQGEN_MAX_STREAMS];
    unsigned char* states[SEQGEN_MAX_STREAMS];
    Frame frame{};
    std::size_t set = 1;      // of the frame's vectors
    int stream = 0;           // whose block is the next one
    std::int64_t within = 0;  // vector of the frame that its first sample takes
};

ParallelWaveNetCall& own(BodyCall& call) { return static_cast<ParallelWaveNetCall&>(call); }

// The op `parallel-wavenet`.
class ParallelWaveNetBody final : public Body {
   public:
    explicit ParallelWaveNetBody(const BodySource& source)
        : flows_(source.op, source.tensors, source.format, source.kernels, source.gain, source.where),
          vector_(flows_.vector()) {
        source.expect_channels(channels());
        flows_.arrange(source.vector.data(), vector_.data());
    }

    BodyTraits traits() const override {
        BodyTraits traits{"float"};
        traits.classes = 0;
        traits.num_params = kMeanAndLogScale;
        traits.feeds_back = false;
        traits.most_value = kMostNoise;
        return traits;
    }

    bool draws_from(const std::string& name, const Json& op, const std::string& where) override {
        if (name != "logistic") return false;
        constexpr double kLeast = 1e-7, kMost = 0.1;  // less is nothing beside 1 in float32
        truncation_ = static_cast<float>(number(op, "truncation", kLeast, kMost, where));
        return true;
    }

    std::size_t channels() const override { return flows_.channels(); }
    std::size_t weight_blocks() const override { return flows_.blocks(); }
    std::size_t weight_bytes() const override { return flows_.bytes(); }
    bool divisible() const override { return flows_.divisible(); }

    BodyStateBytes state_bytes() const override { return {flows_.state_bytes() + vector_.size() * sizeof(float), 0}; }

    void init(const BodyState& state) const override {
        flows_.init(state.before);
        std::memcpy(state.before + flows_.state_bytes(), vector_.data(), vector_.size() * sizeof(float));
    }

    bool fits(const StateHeader&, const unsigned char* before) const override { return flows_.fits(before); }

    BodyCall* open(Workspace& memory, const CallContext& context) const override {
        return place_call<ParallelWaveNetCall>(memory, context, flows_);
    }

    // The flows' states are changed where they are, in the caller's blob.
    void load(BodyCall& given, int stream, const BodyState& state) const override {
        ParallelWaveNetCall& call = own(given);
        call.states[stream] = state.before;
        call.ramp.load(stream, state.before + flows_.state_bytes());
        call.generators[stream] = call.context.io.generator(stream);
    }

    void save(BodyCall& given, int stream, const BodyState& state) const override {
        ParallelWaveNetCall& call = own(given);
        call.pipeline.finish();
        draw(call);
        call.ramp.save(stream, state.before + flows_.state_bytes());
    }

    void enter(BodyCall& given, const Frame& frame) const override {
        ParallelWaveNetCall& call = own(given);
        call.set = 1 - call.set;
        call.ramp.enter(frame, call.set, [&](const float* vector, float* made) { flows_.arrange(vector, made); });
        call.frame = frame;
        call.within = frame.first();
        call.stream = 0;
    }

    // The next block of the frame. All but a stream's last one are full, which suits the tiles of products.
    bool advance(BodyCall& given) const override {
        ParallelWaveNetCall& call = own(given);
        const auto hop = static_cast<std::int64_t>(call.context.hop);
        if (call.within >= hop || call.stream == call.context.streams) return false;
        FlowBlock& block = call.pipeline.next();
        const auto stream = static_cast<std::size_t>(call.stream);
        block.state = call.states[stream];
        block.from = call.ramp.from(stream, call.set);
        block.delta = call.ramp.delta(stream, call.set);
        block.weights = call.context.weights + call.within;
        block.times = static_cast<int>(std::min<std::int64_t>(FlowBlock::kMost, hop - call.within));
        block.stream = call.stream;
        block.index = call.frame.origin + call.within;
        set_noise(call, block);
        call.pipeline.run();
        call.within += block.times;
        if (call.within == hop && ++call.stream < call.context.streams) call.within = call.frame.first();
        return true;
    }

    // Behind all flows: samples in [-1, 1], or mean and log-scale of their distributions given the noise before.
    void draw(BodyCall& given) const override {
        ParallelWaveNetCall& call = own(given);
        const FlowBlock* block = call.pipeline.take_done();
        if (block == nullptr) return;
        for (int t = 0; t < block->times; ++t) {
            const std::int64_t sample = block->index + t;
            const float made = block->noise[t] * block->scale[t] + block->mean[t];
            call.context.io.put(block->stream, sample, 0, made < 1.0f ? (made > -1.0f ? made : -1.0f) : 1.0f);
            float* params = call.context.io.params(block->stream, sample, kMeanAndLogScale);
            if (params == nullptr) continue;
            constexpr float kLeast = 1e-38f;  // has a logarithm
            params[0] = block->mean[t];
            params[1] = static_cast<float>(logarithm(std::max(block->scale[t], kLeast)));
        }
    }

   private:
    // Standard logistic noise, ln u - ln(1 - u).
    float noise(float uniform) const {
        const float most = 1.0f - truncation_;
        const double u = uniform > truncation_ ? (uniform < most ? uniform : most) : truncation_;
        return static_cast<float>(logarithm(u) - logarithm(1.0 - u));
    }

    // The noise of a block: given, or from uniform numbers.
    void set_noise(ParallelWaveNetCall& call, FlowBlock& block) const {
        const SampleIO& io = call.context.io;
        for (int t = 0; t < block.times; ++t) {
            const std::int64_t sample = block.index + t;
            block.noise[t] =
                io.drawing() ? io.temperature() * noise(io.uniform(block.stream, sample, call.generators[block.stream]))
                             : io.given_noise(block.stream, sample);
        }
    }

    Flows flows_;
    AlignedArray<float> vector_;  // of conditioning, before the first frame
    float truncation_ = 0;        // how near to 0 and 1 uniform numbers may come
};

}  // namespace

std::unique_ptr<Body> make_parallel_wavenet(const BodySource& source, std::unique_ptr<Body>) {
    return std::make_unique<ParallelWaveNetBody>(source);
}

}  // namespace seqgen
