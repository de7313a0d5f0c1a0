// Gated recurrent layers over symbols as a body: a recurrent language model.
#include <algorithm>
#include <cstring>

#include "bodies/symbol_rows.hpp"
#include "bodies/table.hpp"
#include "layers/bias.hpp"
#include "layers/gru.hpp"
#include "program/failure.hpp"

namespace seqgen {
namespace {

constexpr std::int64_t kMostUnits = 1 << 15, kMostClasses = 1 << 16;
constexpr std::size_t kMostLayers = 256;

// Streams side by side on their way through a call.
struct GruCall final : BodyCall {
    GruCall(Workspace& memory, const CallContext& context, std::size_t classes, std::size_t units, std::size_t width,
            std::size_t layers)
        : BodyCall(context), symbols(memory, context, classes, false) {
        const auto rows = static_cast<std::size_t>(context.streams);
        embedded = memory.floats(rows * width);
        embedded_bytes = memory.bytes(rows * width);
        hidden = memory.floats(layers * rows * units);
        hidden_bytes = memory.bytes(layers * rows * units);
        entering = memory.floats(rows * 3 * units);
        products = memory.floats(rows * 3 * units);
        logits = memory.floats(rows * padded(classes));
        std::fill_n(scales, SEQGEN_MAX_STREAMS, 1.0f);
    }

    SymbolRows symbols;
    float *embedded, *hidden, *entering, *products, *logits;  // rows of a layer one behind the other
    std::uint8_t *embedded_bytes, *hidden_bytes;
    float scales[SEQGEN_MAX_STREAMS];  // of embedded symbols in 8 bits
};

GruCall& own(BodyCall& call) { return static_cast<GruCall&>(call); }

constexpr float kOnes[SEQGEN_MAX_STREAMS] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

// The op `gru-stack`: seqgen/models/recurrent.py.
//   e = E x_{t-1}     r, z, n gates of W h' + b + R h, the reset after the product     logits = V h + c
// In 8 bits a state is one, its numbers over 127; an embedded symbol's largest number is 127.
class GruStackBody final : public Body {
   public:
    explicit GruStackBody(const BodySource& source) : format_(source.format), kernels_(source.kernels) {
        const auto named = [&](const char* name) { return source.op.at(name, source.where).string(source.where); };
        source.expect(source.channels == 0, "columns for a stack that takes none");
        std::vector<std::int64_t> shape = {-1, -1};
        embedding_ = source.tensors.floats(named("embedding"), shape);
        source.expect(shape[0] <= kMostClasses && shape[1] <= kMostUnits,
                      "an embedding of more than 65536 symbols or 32768 channels");
        classes_ = static_cast<std::size_t>(shape[0]);
        embedded_ = static_cast<std::size_t>(shape[1]);
        width_ = padded(embedded_);
        const auto& layers = source.op.at("layers", source.where).list(source.where);
        source.expect(!layers.empty() && layers.size() <= kMostLayers, "no layer, or more than 256");
        for (const Json& described : layers) {
            // The first layer reads embedded symbols, each other one the states of that before it.
            const std::size_t width = layers_.empty() ? embedded_ : units_;
            layers_.emplace_back(described, source.tensors, width, units_,
                                 GruLayer::Form{Activations::state, format_, kernels_, source.where});
            units_ = layers_.front().units();
        }
        shape = {static_cast<std::int64_t>(classes_), static_cast<std::int64_t>(units_)};
        const std::vector<float> out = source.tensors.floats(named("out_weight"), shape);
        out_ = PackedMatrix(MatrixSource::plain(out.data(), classes_, units_), format_, Activations::state, kernels_);
        out_bias_ = read_bias(source.tensors, named("out_bias"), classes_);
        std::fill(out_bias_.data() + classes_, out_bias_.data() + out_bias_.size(), kNoClass);
        const auto last = static_cast<std::int64_t>(classes_) - 1;
        start_ = static_cast<std::uint32_t>(source.op.at("start", source.where).integer(0, last, source.where));
    }

    BodyTraits traits() const override {
        BodyTraits traits{"symbols"};
        traits.classes = static_cast<int>(classes_);
        traits.num_params = classes_;
        traits.direct = true;
        return traits;
    }

    bool draws_from(const std::string& name, const Json& op, const std::string& where) override {
        if (name != "categorical") return false;
        const auto count = static_cast<std::int64_t>(classes_);
        op.at("classes", where).integer(count, count, where + ": classes");
        return true;
    }

    std::size_t channels() const override { return 0; }
    std::size_t weight_blocks() const override {
        std::size_t sum = out_.blocks();
        for (const GruLayer& layer : layers_) sum += layer.blocks();
        return sum;
    }
    std::size_t weight_bytes() const override {
        std::size_t sum = out_.bytes();
        for (const GruLayer& layer : layers_) sum += layer.bytes();
        return sum;
    }

    BodyStateBytes state_bytes() const override { return {layers_.size() * layer_bytes(), 0}; }
    void init(const BodyState& state) const override { state.header.coarse = start_; }
    bool fits(const StateHeader& header, const unsigned char*) const override { return header.coarse < classes_; }

    BodyCall* open(Workspace& memory, const CallContext& context) const override {
        return place_call<GruCall>(memory, context, classes_, padded(units_), width_, layers_.size());
    }

    void load(BodyCall& given, int stream, const BodyState& state) const override {
        GruCall& call = own(given);
        call.symbols.load(stream, state);
        for (std::size_t i = 0; i < layers_.size(); ++i) {
            const std::size_t at = place(call, i, stream);
            std::memcpy(call.hidden + at, state.before + i * layer_bytes(), layer_bytes());
            if (small()) kernels_.quantise_state(call.hidden + at, padded(units_), call.hidden_bytes + at);
        }
        std::fill_n(call.embedded + static_cast<std::size_t>(stream) * width_, width_, 0.0f);
    }

    void save(BodyCall& given, int stream, const BodyState& state) const override {
        GruCall& call = own(given);
        call.symbols.save(stream, state);
        for (std::size_t i = 0; i < layers_.size(); ++i) {
            std::memcpy(state.before + i * layer_bytes(), call.hidden + place(call, i, stream), layer_bytes());
        }
    }

    void enter(BodyCall& call, const Frame& frame) const override { own(call).symbols.enter(frame); }

    bool advance(BodyCall& given) const override {
        GruCall& call = own(given);
        if (!call.symbols.next()) return false;
        embed(call);
        for (std::size_t i = 0; i < layers_.size(); ++i) step(call, i);
        const std::size_t at = place(call, layers_.size() - 1, 0), units = padded(units_);
        const Rows<float> logits{call.logits, padded(classes_)};
        if (small()) {
            out_(out_.all(), Rows<const std::uint8_t>{call.hidden_bytes + at, units}, logits, call.context.streams);
        } else {
            out_(out_.all(), Rows<const float>{call.hidden + at, units}, logits, call.context.streams);
        }
        return true;
    }

    void draw(BodyCall& given) const override {
        GruCall& call = own(given);
        call.symbols.draw({call.logits, padded(classes_)}, out_bias_.data(), kOnes, kernels_);
    }

   private:
    bool small() const { return format_ == SEQGEN_FORMAT_INT8; }
    std::size_t layer_bytes() const { return padded(units_) * sizeof(float); }
    std::size_t place(const GruCall& call, std::size_t layer, int stream) const {
        return (layer * static_cast<std::size_t>(call.context.streams) + static_cast<std::size_t>(stream)) *
               padded(units_);
    }

    void embed(GruCall& call) const {
        for (int s = 0; s < call.context.streams; ++s) {
            const std::size_t at = static_cast<std::size_t>(s) * width_;
            const auto symbol = static_cast<std::size_t>(call.symbols.symbol(s));
            std::copy_n(embedding_.data() + symbol * embedded_, embedded_, call.embedded + at);
            if (small()) {
                call.scales[s] = kernels_.quantise_scaled(call.embedded + at, width_, call.embedded_bytes + at);
            }
        }
    }

    // A step of layer i of all streams.
    void step(GruCall& call, std::size_t i) const {
        const GruLayer& layer = layers_[i];
        const std::size_t units = padded(units_), at = place(call, i, 0);
        const Rows<float> entering{call.entering, 3 * units};
        const int streams = call.context.streams;
        if (i == 0) {
            layer.enter({call.embedded, width_}, {call.embedded_bytes, width_}, entering, streams);
        } else {
            const std::size_t below = place(call, i - 1, 0);
            layer.enter({call.hidden + below, units}, {call.hidden_bytes + below, units}, entering, streams);
        }
        layer.step({{entering.data, entering.stride},
                    i == 0 ? call.scales : kOnes,
                    {call.hidden + at, units},
                    {call.hidden_bytes + at, units},
                    call.products},
                   streams);
    }

    seqgen_format format_;
    const Kernels& kernels_;
    std::size_t classes_ = 0, embedded_ = 0, width_ = 0, units_ = 0;
    std::vector<float> embedding_;  // [classes][embedded]
    std::vector<GruLayer> layers_;
    PackedMatrix out_;
    AlignedArray<float> out_bias_;
    std::uint32_t start_ = 0;
};

}  // namespace

std::unique_ptr<Body> make_gru_stack(const BodySource& source, std::unique_ptr<Body>) {
    return std::make_unique<GruStackBody>(source);
}

}  // namespace seqgen
