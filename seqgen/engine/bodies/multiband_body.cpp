// A multi-band vocoder as a body: one step of a recurrence a group, then the bands of it one after the other.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "bodies/conditioning_ramp.hpp"
#include "bodies/table.hpp"
#include "kernels/functions.hpp"
#include "layers/bias.hpp"
#include "layers/gru.hpp"
#include "program/failure.hpp"

namespace seqgen {
namespace {

constexpr std::int64_t kMostUnits = 1 << 15, kMostBands = 16, kMostInner = 1 << 12, kMostGroups = 1 << 10;
constexpr std::size_t kMostOutputs = 768;

// Streams side by side on their way through a frame.
struct MultiBandCall final : BodyCall {
    MultiBandCall(Workspace& memory, const CallContext& context, std::size_t vector, std::size_t units,
                  std::size_t width, std::size_t inner, std::size_t past)
        : BodyCall(context), ramp(memory, vector, context.streams) {
        const auto rows = static_cast<std::size_t>(context.streams);
        hidden = memory.floats(rows * units);
        bytes = memory.bytes(rows * units);
        told = memory.floats(rows * width);
        entering = memory.floats(rows * 3 * units);
        products = memory.floats(rows * 3 * units);
        inside = memory.floats(rows * inner);
        this->past = memory.floats(rows * past);
    }

    ConditioningRamp ramp;
    float *hidden, *told, *entering, *products, *inside, *past;  // row after row
    std::uint8_t* bytes;
    float group[SEQGEN_MAX_STREAMS][kMostBands];  // the numbers of the group that are drawn, of unit size
    float gains[SEQGEN_MAX_STREAMS][kMostBands];
    float previous[SEQGEN_MAX_STREAMS];
    float clear[SEQGEN_MAX_STREAMS];  // how clearly the group is periodic, 0 to 1
    Philox generators[SEQGEN_MAX_STREAMS];
    Frame frame{};
    std::int64_t within = 0;  // number of the frame that is next
    std::size_t band = 0;     // its band
};

MultiBandCall& own(BodyCall& call) { return static_cast<MultiBandCall&>(call); }

// The op `multiband`: seqgen/models/multiband.py. A vector is the logarithm of the period in samples and its clarity where
// it looks one period back, then the gates, then a gain for each band where there is one.
class MultiBandBody final : public Body {
   public:
    explicit MultiBandBody(const BodySource& source)
        : format_(source.format), kernels_(source.kernels), gain_(source.gain) {
        read_sizes(source);
        const auto named = [&](const char* name) { return source.op.at(name, source.where).string(source.where); };
        std::vector<std::int64_t> shape = {-1, -1};
        const std::vector<float> recurrent = source.tensors.floats(named("recurrent"), shape);
        source.expect(shape[1] <= kMostUnits && shape[0] == 3 * shape[1],
                      "a recurrent matrix that is not 3 H x H with H of at most 32768");
        units_ = static_cast<std::size_t>(shape[1]);
        recurrent_ = PackedMatrix(gate_rows(recurrent.data(), units_, units_, format_), format_, Activations::state, kernels_);
        shape = {shape[0], static_cast<std::int64_t>(told())};
        const std::vector<float> input = source.tensors.floats(named("input"), shape);
        input_ = PackedMatrix(gate_rows(input.data(), told(), units_, format_), SEQGEN_FORMAT_FLOAT32, Activations::state,
                              kernels_);
        read_heads(source);
        zeros_ = AlignedArray<float>(3 * padded(units_));
        source.expect_channels(channels());
        source.expect(source.hop % bands_ == 0 && source.latency % bands_ == 0,
                      "the hop or the latency are not whole groups of bands");
        vector_ = AlignedArray<float>(width());
        arrange(source.vector.data(), vector_.data());
    }

    BodyTraits traits() const override {
        BodyTraits traits{"float"};
        traits.classes = 0;
        traits.group = static_cast<int>(bands_);
        if (distribution_ == nullptr) return traits;
        traits.num_uniforms = distribution_->num_uniforms();
        traits.num_params = distribution_->num_params();
        return traits;
    }

    bool draws_from(const std::string& name, const Json& op, const std::string& where) override {
        distribution_ = Distribution::named(name, op, where);
        if (distribution_ == nullptr) return false;
        if (distribution_->num_params() != outputs_) {
            throw Failure(SEQGEN_FORMAT, where + ": 'out' does not make its parameters");
        }
        return true;
    }

    std::size_t channels() const override { return told_first() + 3 * units_ + (gain_ ? bands_ : 0); }
    std::size_t weight_blocks() const override { return recurrent_.blocks() + input_.blocks() + inner_.blocks(); }
    std::size_t weight_bytes() const override { return recurrent_.bytes() + input_.bytes() + inner_.bytes(); }

    BodyStateBytes state_bytes() const override { return {(carried() + width()) * sizeof(float), 0}; }

    void init(const BodyState& state) const override {
        std::memcpy(state.before + carried() * sizeof(float), vector_.data(), width() * sizeof(float));
    }

    bool fits(const StateHeader&, const unsigned char*) const override { return true; }

    BodyCall* open(Workspace& memory, const CallContext& context) const override {
        return place_call<MultiBandCall>(memory, context, width(), padded(units_), padded(told()),
                                         padded(bands_ * inside_), past());
    }

    void load(BodyCall& given, int stream, const BodyState& state) const override {
        MultiBandCall& call = own(given);
        const auto row = static_cast<std::size_t>(stream);
        const std::size_t units = padded(units_);
        const unsigned char* from = state.before;
        std::memcpy(call.hidden + row * units, from, units * sizeof(float));
        from += units * sizeof(float);
        std::memcpy(call.past + row * past(), from, past() * sizeof(float));
        from += past() * sizeof(float);
        std::memcpy(call.group[stream], from, bands_ * sizeof(float));
        call.ramp.load(stream, state.before + carried() * sizeof(float));
        if (small()) kernels_.quantise_state(call.hidden + row * units, units, call.bytes + row * units);
        std::fill_n(call.told + row * padded(told()), padded(told()), 0.0f);
        call.previous[stream] = state.header.previous;
        call.generators[stream] = call.context.io.generator(stream);
    }

    void save(BodyCall& given, int stream, const BodyState& state) const override {
        const MultiBandCall& call = own(given);
        const auto row = static_cast<std::size_t>(stream);
        const std::size_t units = padded(units_);
        unsigned char* to = state.before;
        std::memcpy(to, call.hidden + row * units, units * sizeof(float));
        to += units * sizeof(float);
        std::memcpy(to, call.past + row * past(), past() * sizeof(float));
        to += past() * sizeof(float);
        std::memcpy(to, call.group[stream], bands_ * sizeof(float));
        call.ramp.save(stream, state.before + carried() * sizeof(float));
        state.header.previous = call.previous[stream];
    }

    void enter(BodyCall& given, const Frame& frame) const override {
        MultiBandCall& call = own(given);
        call.ramp.enter(frame, 0, [&](const float* vector, float* made) { arrange(vector, made); });
        call.frame = frame;
        call.within = frame.first();
    }

    bool advance(BodyCall& given) const override {
        MultiBandCall& call = own(given);
        if (call.within >= static_cast<std::int64_t>(call.context.hop)) return false;
        if (call.band == 0) {
            begin(call);
        } else {
            for (int s = 0; s < call.context.streams; ++s) take(call, s, call.band - 1);
        }
        return true;
    }

    void draw(BodyCall& given) const override {
        MultiBandCall& call = own(given);
        const SampleIO& io = call.context.io;
        const std::int64_t sample = call.frame.origin + call.within;
        float params[kMostOutputs];
        for (int s = 0; s < call.context.streams; ++s) {
            head(call, s, params);
            if (gain_) distribution_->amplify(params, call.gains[s][call.band]);
            const float warmth = cold_.empty() ? 1.0f : 1.0f - cold_[call.band] * call.clear[s];
            const float value = io.value(s, sample, *distribution_, params, call.generators[s], warmth);
            call.previous[s] = value;
            io.put(s, sample, static_cast<std::size_t>(call.within), value);
        }
        ++call.within;
        call.band = (call.band + 1) % bands_;
    }

   private:
    bool small() const { return format_ == SEQGEN_FORMAT_INT8; }
    bool looks() const { return taps_ >= 0; }
    std::size_t told_first() const { return looks() ? 2 : 0; }
    std::size_t around() const { return static_cast<std::size_t>(2 * taps_ + 1); }
    std::size_t reach() const { return std::max(groups_, looks() ? longest_ + static_cast<std::size_t>(taps_) : 0); }
    std::size_t past() const { return reach() * bands_; }
    std::size_t told() const { return groups_ * bands_ + (looks() ? around() * low_ : 0); }
    // Floats of a vector in the body's layout: the gates, each padded, then period and clarity, then the gains.
    std::size_t width() const { return padded(3 * padded(units_) + 2 + bands_); }
    // Floats of a stream's state before its vector.
    std::size_t carried() const { return padded(units_) + past() + bands_; }

    void read_sizes(const BodySource& source) {
        const auto size = [&](const char* name, std::int64_t low, std::int64_t high) {
            return source.op.at(name, source.where).integer(low, high, source.where + ": " + name);
        };
        bands_ = static_cast<std::size_t>(size("bands", 2, kMostBands));
        groups_ = static_cast<std::size_t>(size("groups", 1, kMostGroups));
        taps_ = static_cast<int>(size("taps", -1, kMostGroups));
        longest_ = static_cast<std::size_t>(size("longest", taps_ + 1, kMostUnits));
        low_ = std::max<std::size_t>(1, bands_ / 2);
        for (const Json& one : source.op.at("cold", source.where).list(source.where)) {
            cold_.push_back(static_cast<float>(one.real(source.where)));
            source.expect(cold_.back() >= 0 && cold_.back() <= 1, "a band that is colder than 1 or warmer than 0");
        }
        source.expect(cold_.empty() || (looks() && cold_.size() == bands_), "'cold' is not a number for each band");
        unclear_ = static_cast<float>(number(source.op, "unclear", 0, 1, source.where));
        clear_ = static_cast<float>(number(source.op, "clear", 0, 1, source.where));
        source.expect(clear_ > unclear_, "'clear' is not above 'unclear'");
    }

    void read_heads(const BodySource& source) {
        const auto named = [&](const char* name) { return source.op.at(name, source.where).string(source.where); };
        const auto bands = static_cast<std::int64_t>(bands_);
        std::vector<std::int64_t> shape = {bands, -1, -1};
        out_ = source.tensors.floats(named("out"), shape);
        source.expect(shape[1] <= kMostInner && shape[2] <= static_cast<std::int64_t>(kMostOutputs),
                      "heads of more than 4096 units or 768 outputs");
        inside_ = static_cast<std::size_t>(shape[1]);
        outputs_ = static_cast<std::size_t>(shape[2]);
        shape = {bands, shape[2]};
        bias_ = source.tensors.floats(named("bias"), shape);
        shape = {bands, bands - 1, static_cast<std::int64_t>(inside_)};
        lower_ = source.tensors.floats(named("lower"), shape);
        shape = {bands * static_cast<std::int64_t>(inside_), static_cast<std::int64_t>(units_)};
        const std::vector<float> inner = source.tensors.floats(named("inner_weight"), shape);
        inner_ = PackedMatrix(MatrixSource::plain(inner.data(), bands_ * inside_, units_), format_, Activations::state,
                              kernels_);
        inner_bias_ = read_bias(source.tensors, named("inner_bias"), bands_ * inside_);
    }

    // A conditioning vector in the body's own layout and units.
    void arrange(const float* vector, float* made) const {
        const std::size_t gates = 3 * padded(units_);
        for (std::size_t row = 0; row < 3 * units_; ++row) {
            const std::size_t gate = row / units_, at = gate * padded(units_) + row % units_;
            made[at] = exponent_factor(format_, gate == 2) * vector[told_first() + row];
        }
        std::copy_n(vector, told_first(), made + gates);
        if (gain_) std::copy_n(vector + told_first() + 3 * units_, bands_, made + gates + 2);
    }

    // The number before is known: it is one of the group that is under way, or the last one of the group before.
    void take(MultiBandCall& call, int s, std::size_t band) const {
        const float gain = gain_ ? call.gains[s][band] : 0.0f;
        call.group[s][band] = call.previous[s] * exponential(-gain);
    }

    // A group begins: the recurrence, and what the heads read of it.
    void begin(MultiBandCall& call) const {
        const std::size_t units = padded(units_), vector = 3 * units, read = padded(told());
        const float weight = call.context.weights[call.within];
        const int streams = call.context.streams;
        for (int s = 0; s < streams; ++s) {
            const auto row = static_cast<std::size_t>(s);
            const float *from = call.ramp.from(row), *delta = call.ramp.delta(row);
            for (std::size_t band = 0; gain_ && band < bands_; ++band) {
                const std::size_t at = vector + 2 + band;
                call.gains[s][band] = gain_->spread * (from[at] + weight * delta[at]) + gain_->origin;
            }
            const float clarity = from[vector + 1] + weight * delta[vector + 1];
            const float clear = (clarity - unclear_) / (clear_ - unclear_);
            call.clear[s] = clear > 0 ? (clear < 1 ? clear : 1.0f) : 0.0f;
            take(call, s, bands_ - 1);
            float* past = call.past + row * this->past();
            std::memmove(past, past + bands_, (this->past() - bands_) * sizeof(float));
            std::copy_n(call.group[s], bands_, past + this->past() - bands_);
            std::fill_n(call.group[s], bands_, 0.0f);
            gather(past, from[vector] + weight * delta[vector], call.told + row * read);
        }
        input_(input_.all(), Rows<const float>{call.told, read}, {call.entering, vector}, streams);
        multiply(recurrent_, call, {call.products, vector});
        for (int s = 0; s < streams; ++s) {
            const auto row = static_cast<std::size_t>(s);
            float *entering = call.entering + row * vector, *hidden = call.hidden + row * units;
            const float *from = call.ramp.from(row), *delta = call.ramp.delta(row);
            for (std::size_t i = 0; i < vector; ++i) entering[i] += from[i] + weight * delta[i];
            const Gates gates = {entering, zeros_.data(), zeros_.data(), 0, call.products + row * vector, hidden, hidden,
                                 call.bytes + row * units, units, 0.0f, {0, 0, 0}, 2, nullptr, 0.0f};
            small() ? kernels_.gates_quick(gates) : kernels_.gates(gates);
        }
        multiply(inner_, call, {call.inside, padded(bands_ * inside_)});
    }

    void multiply(const PackedMatrix& matrix, const MultiBandCall& call, Rows<float> made) const {
        const std::size_t units = padded(units_);
        if (small()) {
            matrix(matrix.all(), Rows<const std::uint8_t>{call.bytes, units}, made, call.context.streams);
        } else {
            matrix(matrix.all(), Rows<const float>{call.hidden, units}, made, call.context.streams);
        }
    }

    // The groups before, newest first, and the lower bands around the place one period back.
    void gather(const float* past, float period, float* told) const {
        for (std::size_t back = 0; back < groups_; ++back) {
            std::copy_n(past + (reach() - 1 - back) * bands_, bands_, told + back * bands_);
        }
        if (!looks()) return;
        const float groups = std::floor(exponential(period) / static_cast<float>(bands_) + 0.5f);
        const auto most = static_cast<float>(longest_), least = static_cast<float>(taps_ + 1);
        const auto back = static_cast<std::size_t>(groups > least ? (groups < most ? groups : most) : least);
        const float* first = past + (reach() - back - static_cast<std::size_t>(taps_)) * bands_;
        for (std::size_t tap = 0; tap < around(); ++tap) {
            std::copy_n(first + tap * bands_, low_, told + groups_ * bands_ + tap * low_);
        }
    }

    // Parameters of the band that is next.
    void head(const MultiBandCall& call, int s, float* params) const {
        const std::size_t band = call.band, at = band * inside_;
        const float* inside = call.inside + static_cast<std::size_t>(s) * padded(bands_ * inside_) + at;
        const float* lower = lower_.data() + band * (bands_ - 1) * inside_;
        std::copy_n(bias_.data() + band * outputs_, outputs_, params);
        for (std::size_t i = 0; i < inside_; ++i) {
            float sum = inside[i] + inner_bias_[at + i];
            for (std::size_t k = 0; k < band; ++k) sum += lower[k * inside_ + i] * call.group[s][k];
            const float* out = out_.data() + (at + i) * outputs_;
            if (!(sum > 0)) continue;
            for (std::size_t k = 0; k < outputs_; ++k) params[k] += sum * out[k];
        }
    }

    seqgen_format format_;
    const Kernels& kernels_;
    std::optional<LogGain> gain_;
    std::size_t bands_ = 0, groups_ = 0, longest_ = 0, low_ = 0, units_ = 0, inside_ = 0, outputs_ = 0;
    int taps_ = -1;
    std::vector<float> cold_;  // of each band, or none
    float unclear_ = 0, clear_ = 1;
    PackedMatrix recurrent_, input_, inner_;
    AlignedArray<float> inner_bias_, zeros_, vector_;
    std::vector<float> lower_, out_, bias_;  // [bands][bands - 1][inner], [bands][inner][outputs], [bands][outputs]
    std::unique_ptr<Distribution> distribution_;
};

}  // namespace

std::unique_ptr<Body> make_multiband(const BodySource& source, std::unique_ptr<Body>) {
    return std::make_unique<MultiBandBody>(source);
}

}  // namespace seqgen
