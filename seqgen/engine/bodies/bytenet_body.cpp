// ByteNet's decoder as a body: masked, dilated convolutions over the symbols before, and over columns where it
// translates.
#include <algorithm>
#include <cstring>

#include "bodies/bytenet.hpp"
#include "bodies/symbol_rows.hpp"
#include "bodies/table.hpp"

namespace seqgen {
namespace {

// Sizes of what a call works with.
struct Sizes {
    std::size_t classes, wide, units, widest, height;
};

// Rows of a call on their way through the blocks.
struct ByteNetCall final : BodyCall {
    ByteNetCall(Workspace& memory, const CallContext& context, const Sizes& sizes)
        : BodyCall(context), symbols(memory, context, sizes.classes, true) {
        const auto count = static_cast<std::size_t>(symbols.most_rows());
        stream = memory.floats(count * sizes.wide);
        entered = memory.floats(count * sizes.units);
        rows.reserve(memory, count, sizes.widest, sizes.height);
    }

    SymbolRows symbols;
    ByteNetRows rows{};
    float *stream, *entered;                      // [wide] and [units] of each row
    unsigned char* rings[SEQGEN_MAX_STREAMS];     // in the caller's states
    std::uint64_t positions[SEQGEN_MAX_STREAMS];  // of the streams, where the block begins
};

ByteNetCall& own(BodyCall& call) { return static_cast<ByteNetCall&>(call); }

ByteNetSource parts_of(const BodySource& source) {
    return {source.tensors, source.format, source.kernels, source.where};
}

// The op `bytenet`: seqgen/models/bytenet.py.
//   a = E x_{t-1} + c_t      a += block(a) for each block      logits = V ReLU(W a + b) + c
// A state has the last (K - 1) r inputs of each block's convolution, as rings, and its stream's position.
class ByteNetBody final : public Body {
   public:
    explicit ByteNetBody(const BodySource& source)
        : kernels_(source.kernels), embedding_(parts_of(source), source.op), channels_(embedding_.width / 2) {
        const ByteNetSource parts = parts_of(source);
        columns_ = source.channels;
        source.expect(columns_ == 0 || columns_ == embedding_.width, "columns of another width than the embedding");
        kernel_ = bytenet_kernel(parts, source.op);
        blocks_ = bytenet_blocks(parts, source.op, channels_);
        std::vector<std::int64_t> shape(2, static_cast<std::int64_t>(embedding_.width));
        const std::vector<float> head = parts.matrix(source.op, "head", shape);
        head_ = ByteNetProduct(parts, MatrixSource::plain(head.data(), embedding_.width, embedding_.width),
                               Activations::state);
        head_bias_ = parts.vector(source.op, "head_bias", embedding_.width);
        shape[0] = static_cast<std::int64_t>(embedding_.classes);
        const std::vector<float> out = parts.matrix(source.op, "out", shape);
        out_ = ByteNetProduct(parts, MatrixSource::plain(out.data(), embedding_.classes, embedding_.width),
                              Activations::rectified);
        out_bias_ = parts.vector(source.op, "out_bias", embedding_.classes);
        std::fill(out_bias_.data() + embedding_.classes, out_bias_.data() + out_bias_.size(), kNoClass);
        const auto last = static_cast<std::int64_t>(embedding_.classes) - 1;
        start_ = static_cast<std::uint32_t>(source.op.at("start", source.where).integer(0, last, source.where));
    }

    BodyTraits traits() const override {
        BodyTraits traits{"symbols"};
        traits.classes = static_cast<int>(embedding_.classes);
        traits.num_params = embedding_.classes;
        traits.direct = true;
        return traits;
    }

    bool draws_from(const std::string& name, const Json& op, const std::string& where) override {
        if (name != "categorical") return false;
        const auto count = static_cast<std::int64_t>(embedding_.classes);
        op.at("classes", where).integer(count, count, where + ": classes");
        return true;
    }

    std::size_t channels() const override { return columns_; }
    std::size_t weight_blocks() const override {
        std::size_t sum = head_.blocks() + out_.blocks();
        for (const ByteNetBlock& block : blocks_) sum += block.blocks();
        return sum;
    }
    std::size_t weight_bytes() const override {
        std::size_t sum = head_.bytes() + out_.bytes();
        for (const ByteNetBlock& block : blocks_) sum += block.bytes();
        return sum;
    }

    BodyStateBytes state_bytes() const override {
        std::size_t sum = sizeof(std::uint64_t);
        for (const ByteNetBlock& block : blocks_) sum += reach(block) * column_bytes();
        return {sum, 0};
    }
    void init(const BodyState& state) const override { state.header.coarse = start_; }
    bool fits(const StateHeader& header, const unsigned char*) const override {
        return header.coarse < embedding_.classes;
    }

    BodyCall* open(Workspace& memory, const CallContext& context) const override {
        const std::size_t wide = padded(2 * channels_), units = padded(channels_);
        std::size_t height = std::max({wide, out_.height(), units});
        for (const ByteNetBlock& block : blocks_) height = std::max(height, block.height());
        const Sizes sizes = {embedding_.classes, wide, units, std::max(wide, kernel_ * units), height};
        return place_call<ByteNetCall>(memory, context, sizes);
    }

    void load(BodyCall& given, int stream, const BodyState& state) const override {
        ByteNetCall& call = own(given);
        call.symbols.load(stream, state);
        std::memcpy(&call.positions[stream], state.before, sizeof call.positions[stream]);
        call.rings[stream] = state.before + sizeof call.positions[stream];
    }

    void save(BodyCall& given, int stream, const BodyState& state) const override {
        ByteNetCall& call = own(given);
        call.symbols.save(stream, state);
        std::memcpy(state.before, &call.positions[stream], sizeof call.positions[stream]);
    }

    void enter(BodyCall& call, const Frame& frame) const override { own(call).symbols.enter(frame); }

    bool advance(BodyCall& given) const override {
        ByteNetCall& call = own(given);
        if (!call.symbols.next()) return false;
        const std::size_t wide = padded(2 * channels_), units = padded(channels_);
        const int count = call.symbols.rows();
        embed(call);
        std::size_t ring = 0;
        for (const ByteNetBlock& block : blocks_) {
            block.enter({call.stream, wide}, {call.entered, units}, call.rows, count);
            look_back(block, ring, call);
            remember(block, ring, call);
            block.leave({call.stream, wide}, call.rows, count);
            ring += reach(block) * column_bytes();
        }
        for (int s = 0; s < call.context.streams; ++s) {
            call.positions[s] += static_cast<std::uint64_t>(call.symbols.times());
        }
        finish(call, count);
        return true;
    }

    void draw(BodyCall& given) const override {
        ByteNetCall& call = own(given);
        call.symbols.draw({call.rows.made, call.rows.height}, out_bias_.data(), call.rows.scales, kernels_);
    }

   private:
    std::size_t reach(const ByteNetBlock& block) const { return (kernel_ - 1) * block.dilation(); }
    std::size_t column_bytes() const { return channels_ * sizeof(float); }

    void embed(ByteNetCall& call) const {
        const std::size_t wide = padded(2 * channels_);
        for (int r = 0; r < call.symbols.rows(); ++r) {
            float* row = call.stream + static_cast<std::size_t>(r) * wide;
            embedding_.read(static_cast<std::size_t>(call.symbols.symbol(r)), row);
            if (columns_ == 0) continue;
            const float* column = call.symbols.column(r, columns_);
            for (std::size_t i = 0; i < columns_; ++i) row[i] += column[i];
        }
    }

    // The lines that a block's convolution reads: what lies before the call's block of positions is in the rings.
    void look_back(const ByteNetBlock& block, std::size_t ring, ByteNetCall& call) const {
        const std::size_t units = padded(channels_), back = reach(block);
        const auto times = static_cast<std::size_t>(call.symbols.times());
        for (int r = 0; r < call.symbols.rows(); ++r) {
            const std::size_t row = static_cast<std::size_t>(r), stream = row / times, p = row % times;
            const unsigned char* columns = call.rings[stream] + ring;
            const std::uint64_t position = call.positions[stream] + p;
            for (std::size_t k = 0; k < kernel_; ++k) {
                float* to = call.rows.given + row * call.rows.widest + k * units;
                const std::size_t distance = (kernel_ - 1 - k) * block.dilation();
                if (distance <= p) {
                    std::copy_n(call.entered + (row - distance) * units, units, to);
                } else {
                    const std::uint64_t place = (position + back - distance) % back;
                    std::memcpy(to, columns + place * column_bytes(), column_bytes());
                    std::fill(to + channels_, to + units, 0.0f);
                }
            }
        }
    }

    void remember(const ByteNetBlock& block, std::size_t ring, const ByteNetCall& call) const {
        const std::size_t units = padded(channels_), back = reach(block);
        const auto times = static_cast<std::size_t>(call.symbols.times());
        for (std::size_t s = 0; s < static_cast<std::size_t>(call.context.streams); ++s) {
            for (std::size_t p = times - std::min(times, back); p < times; ++p) {
                unsigned char* to = call.rings[s] + ring + (call.positions[s] + p) % back * column_bytes();
                std::memcpy(to, call.entered + (s * times + p) * units, column_bytes());
            }
        }
    }

    void finish(ByteNetCall& call, int count) const {
        const std::size_t wide = padded(2 * channels_);
        for (int r = 0; r < count; ++r) {
            const auto row = static_cast<std::size_t>(r);
            std::copy_n(call.stream + row * wide, wide, call.rows.given + row * call.rows.widest);
        }
        head_(call.rows, count);
        for (int r = 0; r < count; ++r) {
            const auto row = static_cast<std::size_t>(r);
            float *to = call.rows.given + row * call.rows.widest, scale = call.rows.scales[r];
            std::fill_n(to, wide, 0.0f);
            kernels_.accumulate(to, call.rows.made + row * call.rows.height, scale, head_bias_.data(), wide);
            for (std::size_t i = 0; i < wide; ++i) to[i] = std::max(to[i], 0.0f);
        }
        out_(call.rows, count);
    }

    const Kernels& kernels_;
    ByteNetEmbedding embedding_;
    std::size_t channels_, columns_ = 0, kernel_ = 1;
    std::vector<ByteNetBlock> blocks_;
    ByteNetProduct head_, out_;
    AlignedArray<float> head_bias_, out_bias_;
    std::uint32_t start_ = 0;
};

}  // namespace

std::unique_ptr<Body> make_bytenet(const BodySource& source, std::unique_ptr<Body>) {
    return std::make_unique<ByteNetBody>(source);
}

}  // namespace seqgen
