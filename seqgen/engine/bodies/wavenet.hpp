// The WaveNet stack: weights and a pass of it: one sample of streams side by side, or where its inputs are known some
// samples that follow each other. One sample after the other, what is known of the next ones is prepared for a few of them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bodies/body.hpp"
#include "bodies/wavenet_context.hpp"
#include "kernels/pack.hpp"
#include "layers/distribution.hpp"
#include "program/json.hpp"
#include "program/tensors.hpp"

namespace seqgen {

// Floats and bytes of a pass in a call's workspace. Its rows are `times` samples of each stream, one stream's behind the
// other's; arrays of a field lie row after row.
struct WaveNetBuffers {
    static constexpr std::size_t kMostTaps = 8;

    // What a stream carries besides its rings, which stay in the caller's state blob.
    struct Stream {
        unsigned char* rings;
        std::uint64_t time;
        std::uint32_t symbols[kMostTaps];  // the last inputs of the first convolution, oldest first
        float inputs[kMostTaps];           // the same where samples are real numbers
        WaveNetContext::Stream context;
    };
    Stream stream[SEQGEN_MAX_STREAMS];
    float* previous;                    // [1] the sample before, where it is a real number
    float* level;                       // [1] of a levelled voice
    float* residual;                    // [residual] what enters the next layer
    float* taps[kMostTaps];             // [residual] what a layer reads, the oldest tap first
    std::uint8_t* tap_bytes[kMostTaps]; // the same in 8 bits
    float* sizes;                       // [taps] of each tap's row, in 8 bits: what 127 stands for
    float* products[kMostTaps];         // [2 gate]
    float* gated;                       // [layers or 1][gate]
    std::uint8_t* gated_bytes;
    float *skip, *head, *logits;
    std::uint8_t *skip_bytes, *head_bytes;
    float* multiplier;  // [1] of what is behind the skips

    // Of each stream [layers][2 gate]: conditioning of the frame before, and from there to the frame's own.
    const float *from, *delta;
    const float* weights;  // [times] how far each sample lies on that way
    float* told;           // where there is a context, `from` with its output added
    bool begun;            // `from` is new
    float *held, *scratch;  // the context's state and values
    int streams, times;

    // Products of far taps, those that look back kMostPrepared samples or more, for `prepared` samples of each stream: a
    // row for each sample, stream by stream. Of such taps the arrays above have their sizes only.
    static constexpr int kMostPrepared = 8;  // rows in all
    float* far_products;                     // [far taps][2 gate]
    float* far_sizes;                        // [far taps]
    float* far_taps;                         // [residual] what one of them reads
    std::uint8_t* far_bytes;                 // the same in 8 bits
    int prepared, used;                      // samples of each stream, and those of them that are made
    std::int64_t samples_left;               // that the call has to make yet; 0: nothing is ever prepared

    int rows() const { return streams * times; }
};

// van den Oord et al. 2016 (arXiv 1609.03499), section 2, as seqgen/models/wavenet.py has it. All widths are padded to
// whole vectors. In 8 bits the rows of the residual stream have one scale each, the largest number becoming 127.
class WaveNet final : public Body {
   public:
    // Raises Failure for missing or unfitting tensors.
    WaveNet(const Json& op, const Tensors& tensors, seqgen_format format, const Kernels& kernels,
          std::optional<LogGain> level, const std::string& where);

    // Numbers of a conditioning vector, and those that the network makes: one more where there is a level.
    std::size_t given() const override { return gates_.size() * 2 * gate_ + (level_ ? kSimdWidth : 0); }
    std::size_t vector() const { return gates_.size() * 2 * units_ + (level_ ? 1 : 0); }
    std::size_t width() const { return out_.height; }  // numbers that it makes for a sample
    std::size_t layers() const { return gates_.size(); }
    bool real() const { return tables_.empty(); }  // samples are real numbers, no symbols
    void arrange(const float* vector, float* made) const override;
    bool divisible() const { return !context_; }  // a pass may take more than one sample

    std::size_t blocks() const override;
    std::size_t bytes() const override;
    std::size_t state_bytes() const override;
    void init(unsigned char* state) const override;
    bool fits(const unsigned char* state) const override;
    void load(WaveNetBuffers& lanes, int stream, unsigned char* state) const;
    void save(const WaveNetBuffers& lanes, int stream, unsigned char* state) const;

    // Points `lanes` to the arrays of its rows, each got from `take(bytes of a row)`; and to those of far taps, which are as
    // large for any number of streams, each got from `take(bytes)`.
    template <typename Take>
    void reserve(WaveNetBuffers& lanes, Take&& take) const;
    template <typename Take>
    void reserve_far(WaveNetBuffers& lanes, Take&& take) const;

    // The logits' products of a pass, from the sample before each; `before`: those of each stream where they are
    // symbols, of which a pass takes one.
    void advance(WaveNetBuffers& lanes, const int (*before)[2]) const;
    int draw(const WaveNetBuffers& lanes, int row, float sharpness, float uniform) const;
    void score(const WaveNetBuffers& lanes, int row, float* logits) const;
    // The outputs of a row in place of their products; returns them. With an emission, of samples at their level.
    float* outputs(WaveNetBuffers& lanes, int row) const;
    float* parameters(WaveNetBuffers& lanes, int row, const Distribution& emission) const;

   private:
    struct Layer {
        PackedMatrix matrix;
        AlignedArray<float> bias;     // padded to whole vectors
        std::size_t height = 0;  // without that
    };
    struct Ring {
        std::size_t start, length, dilation;
        std::size_t far, far_before;  // far taps of the layer, its oldest ones, and of all layers before it
    };
    void read_shape(const Json& op, const std::string& where);
    void read_front(const Json& op, const Tensors& tensors, const std::string& where);
    void read_tables(const Json& op, const Tensors& tensors, const std::vector<float>& weight,
                     const std::string& where);
    void read_columns(const Json& op, const std::vector<float>& weight, const std::string& where);
    void read_head(const Json& op, const Tensors& tensors, const std::string& where);
    void read_gates(const Json& names, const Tensors& tensors, const std::string& where);
    Layer layer(const Json& names, const Tensors& tensors, const std::vector<int>& columns, seqgen_format format,
                Activations activations, const std::string& where) const;
    template <typename Size>
    std::size_t of_all(Size&& size) const;
    std::size_t row_bytes() const;
    std::size_t ring_bytes() const;  // of a state without the context's
    void add_gates(const float* vector, float* made) const;
    // Gated units of a row: all layers' where a skip connection reads them, else those of the newest layer.
    std::size_t gated() const { return (skips_ ? gates_.size() : 1) * gate_; }
    void enter(WaveNetBuffers& lanes, const int (*before)[2]) const;
    void tell(WaveNetBuffers& lanes, int stream, int symbol) const;
    void enter_symbol(WaveNetBuffers::Stream& own, int symbol, float* made) const;
    void enter_real(WaveNetBuffers::Stream& own, float value, float level, float* made) const;
    void prepare(WaveNetBuffers& lanes) const;
    // The row of far products that a stream's sample reads.
    static std::size_t far_row(const WaveNetBuffers& lanes, int stream) {
        return static_cast<std::size_t>(stream * lanes.prepared + lanes.used);
    }
    float read_row(const unsigned char* row, float* made, std::uint8_t* bytes) const;
    void recall(WaveNetBuffers& lanes, const Ring& ring) const;
    void recall(WaveNetBuffers& lanes, const Ring& ring, int stream, int time) const;
    void filter(WaveNetBuffers& lanes, std::size_t layer) const;
    void apply(const PackedMatrix& matrix, Rows<const float> x, Rows<const std::uint8_t> bytes, Rows<float> y,
               int rows) const;
    void rectify(WaveNetBuffers& lanes, const Layer& layer, const Layer& next, float* y, std::uint8_t* bytes) const;

    const Kernels* kernels_;
    seqgen_format format_;
    std::size_t units_ = 0, channels_ = 0;  // of z and of the residual stream, as the program has them
    std::size_t gate_ = 0, residual_ = 0;   // padded to whole vectors
    std::size_t taps_ = 0, front_ = 0;
    std::vector<Ring> rings_;
    std::size_t rows_ = 0;  // of all rings
    std::size_t far_ = 0;   // taps
    std::vector<AlignedArray<float>> tables_;   // of each tap of the first convolution: [257][residual], the last row zero
    std::vector<AlignedArray<float>> columns_;  // the same for real numbers: [residual]
    float inverse_unit_ = 1;               // of real numbers
    std::optional<LogGain> level_;
    std::optional<WaveNetContext> context_;
    AlignedArray<float> front_bias_;
    std::vector<std::vector<PackedMatrix>> gates_;  // [layers][taps]
    std::vector<Layer> residuals_;
    bool skips_ = true;  // otherwise the head reads the residual stream
    Layer skip_, head_, out_;
};

template <typename Take>
void WaveNet::reserve(WaveNetBuffers& lanes, Take&& take) const {
    const auto floats = [&](std::size_t count) { return static_cast<float*>(take(count * sizeof(float))); };
    const auto bytes = [&](std::size_t count) { return static_cast<std::uint8_t*>(take(count)); };
    const std::size_t skip = skip_.bias.size(), head = head_.bias.size();
    lanes.previous = floats(1);
    lanes.level = floats(1);
    lanes.residual = floats(residual_);
    for (std::size_t tap = 0; tap < taps_; ++tap) {
        lanes.taps[tap] = floats(residual_);
        lanes.tap_bytes[tap] = bytes(residual_);
        lanes.products[tap] = floats(std::max(2 * gate_, residual_));
    }
    lanes.sizes = floats(taps_);
    lanes.gated = floats(gated());
    lanes.gated_bytes = bytes(gated());
    lanes.skip = floats(skip);
    lanes.head = floats(head);
    lanes.logits = floats(out_.bias.size());
    lanes.skip_bytes = bytes(skip);
    lanes.head_bytes = bytes(head);
    lanes.multiplier = floats(1);
    if (!context_) return;
    lanes.told = floats(given());
    lanes.held = floats(context_->floats());
    lanes.scratch = floats(context_->scratch());
}

template <typename Take>
void WaveNet::reserve_far(WaveNetBuffers& lanes, Take&& take) const {
    const auto bytes = [&](std::size_t count) { return take(WaveNetBuffers::kMostPrepared * count); };
    const auto floats = [&](std::size_t count) { return static_cast<float*>(bytes(count * sizeof(float))); };
    lanes.far_products = floats(far_ * 2 * gate_);
    lanes.far_sizes = floats(far_);
    lanes.far_taps = floats(residual_);
    lanes.far_bytes = static_cast<std::uint8_t*>(bytes(residual_));
}

}  // namespace seqgen
