// ByteNet's encoder: the decoder's blocks with their taps centred, over a whole source.
#include <algorithm>
#include <vector>

#include "bodies/bytenet.hpp"
#include "bodies/table.hpp"
#include "layers/distribution.hpp"

namespace seqgen {
namespace {

// The op `bytenet-encoder`: seqgen/models/bytenet_encoder.py.
//   a = E x_t      a += block(a) for each block      c_t = V ReLU(LN(a)) + b
// What lies outside the source is zero in front of every convolution. Weights are read once for sixteen positions.
class ByteNetEncoder final : public Encoder {
   public:
    explicit ByteNetEncoder(const BodySource& source) : kernels_(source.kernels) {
        const ByteNetSource parts = {source.tensors, source.format, source.kernels, source.where};
        embedding_ = ByteNetEmbedding(parts, source.op);
        channels_ = embedding_.width / 2;
        kernel_ = bytenet_kernel(parts, source.op);
        parts.expect(kernel_ % 2 == 1, "an even number of taps, which have no middle");
        parts.expect(parts.name(source.op, "form") == "rectified", "blocks of another form than 'rectified'");
        blocks_ = bytenet_blocks(parts, source.op, channels_);
        epsilon_ = static_cast<float>(number(source.op, "epsilon", 1e-12, 1, source.where));
        norm_ = ByteNetNorm(parts, source.op, "norm_gain", "norm_bias", embedding_.width);
        std::vector<std::int64_t> shape = {static_cast<std::int64_t>(source.channels),
                                           static_cast<std::int64_t>(embedding_.width)};
        const std::vector<float> out = parts.matrix(source.op, "out", shape);
        columns_ = source.channels;
        out_ =
            ByteNetProduct(parts, MatrixSource::plain(out.data(), columns_, embedding_.width), Activations::rectified);
        out_bias_ = parts.vector(source.op, "out_bias", columns_);
    }

    int classes() const override { return static_cast<int>(embedding_.classes); }
    std::size_t channels() const override { return columns_; }

    void run(const std::int32_t* symbols, std::int64_t length, float* columns, Workspace& memory) const override {
        const std::size_t wide = padded(2 * channels_), units = padded(channels_);
        const auto count = static_cast<std::size_t>(length);
        std::size_t height = std::max({wide, units, out_.height()});
        for (const ByteNetBlock& block : blocks_) height = std::max(height, block.height());
        float *stream = memory.floats(count * wide), *entered = memory.floats(count * units);
        ByteNetRows rows{};
        rows.reserve(memory, ByteNetRows::kMost, std::max(wide, kernel_ * units), height);
        if (symbols == nullptr) return;
        for (std::size_t t = 0; t < count; ++t) {
            embedding_.read(static_cast<std::size_t>(symbols[t]), stream + t * wide);
        }
        for (const ByteNetBlock& block : blocks_) {
            each_tile(count, [&](std::size_t first, int some) {
                block.enter({stream + first * wide, wide}, {entered + first * units, units}, rows, some);
            });
            each_tile(count, [&](std::size_t first, int some) {
                for (int r = 0; r < some; ++r) look_around(block, entered, count, first, r, rows);
                block.leave({stream + first * wide, wide}, rows, some);
            });
        }
        each_tile(count,
                  [&](std::size_t first, int some) { finish(stream + first * wide, columns, first, rows, some); });
    }

   private:
    template <typename F>
    static void each_tile(std::size_t count, F&& function) {
        constexpr std::size_t kMost = ByteNetRows::kMost;
        for (std::size_t first = 0; first < count; first += kMost) {
            function(first, static_cast<int>(std::min(kMost, count - first)));
        }
    }

    // The line of position first + r, one half of its taps on either side.
    void look_around(const ByteNetBlock& block, const float* entered, std::size_t count, std::size_t first, int r,
                     ByteNetRows& rows) const {
        const std::size_t units = padded(channels_), side = kernel_ / 2 * block.dilation();
        const std::size_t at = first + static_cast<std::size_t>(r);
        float* line = rows.given + static_cast<std::size_t>(r) * rows.widest;
        for (std::size_t k = 0; k < kernel_; ++k, line += units) {
            const std::size_t from = at + k * block.dilation();  // `side` further on
            if (from >= side && from - side < count) {
                std::copy_n(entered + (from - side) * units, units, line);
            } else {
                std::fill_n(line, units, 0.0f);
            }
        }
    }

    void finish(const float* stream, float* columns, std::size_t first, ByteNetRows& rows, int count) const {
        const std::size_t wide = padded(2 * channels_);
        for (int r = 0; r < count; ++r) {
            const auto row = static_cast<std::size_t>(r);
            kernels_.layer_norm({stream + row * wide, norm_.gain.data(), norm_.bias.data(), norm_.width, epsilon_, 0.0f,
                                 rows.given + row * rows.widest});
        }
        out_(rows, count);
        for (int r = 0; r < count; ++r) {
            const auto row = static_cast<std::size_t>(r);
            const float* made = rows.made + row * rows.height;
            float* column = columns + (first + row) * columns_;
            for (std::size_t i = 0; i < columns_; ++i) column[i] = rows.scales[r] * made[i] + out_bias_[i];
        }
    }

    const Kernels& kernels_;
    ByteNetEmbedding embedding_;
    std::size_t channels_ = 0, columns_ = 0, kernel_ = 1;
    float epsilon_ = 0;
    std::vector<ByteNetBlock> blocks_;
    ByteNetNorm norm_;
    ByteNetProduct out_;
    AlignedArray<float> out_bias_;
};

}  // namespace

std::unique_ptr<Encoder> make_bytenet_encoder(const BodySource& source) {
    return std::make_unique<ByteNetEncoder>(source);
}

}  // namespace seqgen
