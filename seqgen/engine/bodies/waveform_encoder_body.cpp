// An encoder of audio as a body: strided convolutions over samples, and a gated recurrence over what they give.
#include <algorithm>
#include <cstring>

#include "bodies/strided_convolution.hpp"
#include "bodies/table.hpp"
#include "layers/gru.hpp"
#include "program/failure.hpp"

namespace seqgen {
namespace {

constexpr std::size_t kMostConvolutions = 64;
// Floats of activations that a block of frames has at most, which stay in the nearer caches; and one frame.
constexpr std::size_t kBlockFloats = 1 << 16, kFrameFloats = 1 << 22;
constexpr std::size_t kMostFrames = 16;

// One stream on its way through a call.
struct WaveformCall final : BodyCall {
    WaveformCall(Workspace& memory, const CallContext& context, const std::vector<StridedConvolution>& convolutions,
                 std::size_t units, std::size_t hop, std::size_t most)
        : BodyCall(context) {
        std::size_t inputs = most * hop;
        for (std::size_t i = 0; i < convolutions.size(); ++i) {
            lines[i] = convolutions[i].line(memory, inputs);
            inputs /= convolutions[i].stride();
            rows[i] = convolutions[i].rows(memory, inputs);
        }
        const std::size_t width = padded(convolutions.back().channels());
        latents = memory.floats(most * width);
        latent_bytes = memory.bytes(most * width);
        scales = memory.floats(most);
        contexts = memory.floats(most * units);
        entering = memory.floats(most * 3 * units);
        products = memory.floats(3 * units);
        hidden = memory.floats(units);
        hidden_bytes = memory.bytes(units);
    }

    float* lines[kMostConvolutions];
    ConvolutionRows rows[kMostConvolutions];
    float *latents, *scales, *contexts, *entering, *products, *hidden;
    std::uint8_t *latent_bytes, *hidden_bytes;
    Frame frame{};
    std::int64_t position = 0, count = 0;  // of the call: where a block of frames begins, and how many it has
};

WaveformCall& own(BodyCall& call) { return static_cast<WaveformCall&>(call); }

// The op `waveform-encoder`: seqgen/models/waveform_encoder.py.
//   h^0 = x      h^l = ReLU(N(W^l * h^{l-1})), strided      z = h^L      c_t = GRU(z_t, c_{t-1})
// A frame is as many samples as all strides make; its parameters are c and z. A state has the inputs that each
// convolution sees again, and the last c. Streams of a call come one after the other, weights being read once for the
// frames of a block.
class WaveformEncoderBody final : public Body {
   public:
    explicit WaveformEncoderBody(const BodySource& source)
        : convolutions_(strided(source)), recurrence_(recurrence(source, convolutions_)), kernels_(source.kernels) {
        std::size_t floats = hop_ = source.channels, inputs = hop_;
        for (const StridedConvolution& convolution : convolutions_) {
            source.expect(inputs % convolution.stride() == 0, "strides that do not make the 'channels' of a frame");
            inputs /= convolution.stride();
            floats += inputs * padded(convolution.channels());
        }
        source.expect(inputs == 1, "strides that do not make the 'channels' of a frame");
        source.expect(floats <= kFrameFloats, "activations of more than 4194304 numbers a frame");
        most_ = std::clamp<std::size_t>(kBlockFloats / floats, 1, kMostFrames);
        zeros_ = AlignedArray<float>(padded(convolutions_.back().channels()));
    }

    BodyTraits traits() const override {
        BodyTraits traits{""};
        traits.classes = 0;
        traits.num_uniforms = 0;
        traits.num_params = recurrence_.units() + convolutions_.back().channels();
        traits.feeds_back = false;
        traits.max_streams = 1;
        traits.direct = true;
        traits.draws = false;
        return traits;
    }

    bool draws_from(const std::string&, const Json&, const std::string&) override { return false; }
    std::size_t channels() const override { return hop_; }
    std::size_t weight_blocks() const override {
        std::size_t sum = recurrence_.blocks();
        for (const StridedConvolution& convolution : convolutions_) sum += convolution.blocks();
        return sum;
    }
    std::size_t weight_bytes() const override {
        std::size_t sum = recurrence_.bytes();
        for (const StridedConvolution& convolution : convolutions_) sum += convolution.bytes();
        return sum;
    }

    BodyStateBytes state_bytes() const override {
        std::size_t sum = recurrence_.units();
        for (const StridedConvolution& convolution : convolutions_) sum += convolution.left() * convolution.width();
        return {sum * sizeof(float), 0};
    }
    void init(const BodyState&) const override {}
    bool fits(const StateHeader&, const unsigned char*) const override { return true; }

    BodyCall* open(Workspace& memory, const CallContext& context) const override {
        return place_call<WaveformCall>(memory, context, convolutions_, padded(recurrence_.units()), hop_, most_);
    }

    void load(BodyCall& given, int, const BodyState& state) const override {
        WaveformCall& call = own(given);
        const unsigned char* from = state.before;
        for (std::size_t i = 0; i < convolutions_.size(); ++i) {
            const StridedConvolution& one = convolutions_[i];
            // Channels are padded to whole vectors.
            std::fill_n(call.lines[i], one.left() * one.pitch(), 0.0f);
            for (std::size_t input = 0; input < one.left(); ++input, from += one.width() * sizeof(float)) {
                std::memcpy(call.lines[i] + input * one.pitch(), from, one.width() * sizeof(float));
            }
        }
        std::fill_n(call.hidden, padded(recurrence_.units()), 0.0f);
        std::memcpy(call.hidden, from, recurrence_.units() * sizeof(float));
        if (recurrence_.small()) {
            kernels_.quantise_state(call.hidden, padded(recurrence_.units()), call.hidden_bytes);
        }
    }

    void save(BodyCall& given, int, const BodyState& state) const override {
        WaveformCall& call = own(given);
        unsigned char* to = state.before;
        for (std::size_t i = 0; i < convolutions_.size(); ++i) {
            const StridedConvolution& one = convolutions_[i];
            for (std::size_t input = 0; input < one.left(); ++input, to += one.width() * sizeof(float)) {
                std::memcpy(to, call.lines[i] + input * one.pitch(), one.width() * sizeof(float));
            }
        }
        std::memcpy(to, call.hidden, recurrence_.units() * sizeof(float));
    }

    void enter(BodyCall& given, const Frame& frame) const override {
        WaveformCall& call = own(given);
        call.frame = frame;
        call.position = call.count = 0;
    }

    bool advance(BodyCall& given) const override {
        WaveformCall& call = own(given);
        call.position += call.count;
        call.count = std::min(static_cast<std::int64_t>(most_), call.frame.count - call.position);
        if (call.count <= 0) return false;
        convolve(call);
        recur(call);
        return true;
    }

    void draw(BodyCall& given) const override {
        const WaveformCall& call = own(given);
        const std::size_t units = recurrence_.units(), channels = convolutions_.back().channels();
        for (std::int64_t i = 0; i < call.count; ++i) {
            float* to = call.context.io.params(0, call.position + i, units + channels);
            if (to == nullptr) continue;
            const auto row = static_cast<std::size_t>(i);
            to = std::copy_n(call.contexts + row * padded(units), units, to);
            std::copy_n(call.latents + row * padded(channels), channels, to);
        }
    }

   private:
    static std::vector<StridedConvolution> strided(const BodySource& source) {
        const auto& described = source.op.at("convolutions", source.where).list(source.where);
        source.expect(!described.empty() && described.size() <= kMostConvolutions, "no convolution, or more than 64");
        std::vector<StridedConvolution> made;
        for (const Json& one : described) {
            made.emplace_back(source, one, made.empty() ? 1 : made.back().channels(), made.empty());
        }
        return made;
    }

    static GruLayer recurrence(const BodySource& source, const std::vector<StridedConvolution>& convolutions) {
        const GruLayer::Form form{Activations::rectified, source.format, source.kernels, source.where};
        return {source.op.at("context", source.where), source.tensors, convolutions.back().channels(), 0, form};
    }

    // Latents of the block's frames.
    void convolve(WaveformCall& call) const {
        std::size_t inputs = static_cast<std::size_t>(call.count) * hop_;
        const float* audio = call.frame.vectors + static_cast<std::size_t>(call.position) * hop_;
        std::copy_n(audio, inputs, call.lines[0] + convolutions_[0].left());
        for (std::size_t i = 0; i < convolutions_.size(); ++i) {
            const StridedConvolution& one = convolutions_[i];
            const std::size_t outputs = inputs / one.stride();
            const bool last = i + 1 == convolutions_.size();
            float* to = last ? call.latents : call.lines[i + 1] + convolutions_[i + 1].left() * padded(one.channels());
            one(call.lines[i], to, call.rows[i], outputs);
            one.keep(call.lines[i], inputs);
            inputs = outputs;
        }
    }

    // Contexts of the block's frames, one after the other.
    void recur(WaveformCall& call) const {
        const std::size_t width = zeros_.size(), units = padded(recurrence_.units());
        const auto count = static_cast<std::size_t>(call.count);
        std::fill_n(call.scales, count, 1.0f);
        for (std::size_t r = 0; r < count && recurrence_.small(); ++r) {
            call.scales[r] = kernels_.rectify_and_quantise(call.latents + r * width, zeros_.data(), 1.0f, width,
                                                           call.latent_bytes + r * width);
        }
        recurrence_.enter({call.latents, width}, {call.latent_bytes, width}, {call.entering, 3 * units},
                          static_cast<int>(count));
        for (std::size_t r = 0; r < count; ++r) {
            recurrence_.step({{call.entering + r * 3 * units, 3 * units},
                              call.scales + r,
                              {call.hidden, units},
                              {call.hidden_bytes, units},
                              call.products},
                             1);
            std::copy_n(call.hidden, units, call.contexts + r * units);
        }
    }

    std::vector<StridedConvolution> convolutions_;
    GruLayer recurrence_;
    const Kernels& kernels_;
    std::size_t hop_ = 0, most_ = 1;
    AlignedArray<float> zeros_;
};

}  // namespace

std::unique_ptr<Body> make_waveform_encoder(const BodySource& source, std::unique_ptr<Body>) {
    return std::make_unique<WaveformEncoderBody>(source);
}

}  // namespace seqgen
