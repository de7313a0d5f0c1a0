// WaveNet: its weights, and a pass over one sample of streams side by side, or, where its inputs are known, over
// some samples that follow each other. One sample after the other, what is known of the next ones is prepared for a few
// of them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bodies/wavenet_context.hpp"
#include "call/workspace.hpp"
#include "kernels/pack.hpp"
#include "layers/distribution.hpp"
#include "program/json.hpp"
#include "program/tensors.hpp"

namespace seqgen {

// Activations of a pass, in a call's workspace. Its rows are `times` samples of each stream, one stream's behind the
// other's; arrays of a field lie row after row.
struct WaveNetBuffers {
    static constexpr std::size_t kMostTaps = 8;

    // State of a stream besides its rings, which stay in the caller's blob.
    struct Stream {
        unsigned char* rings;
        std::uint64_t time;
        std::uint32_t symbols[kMostTaps];  // the last inputs of the first convolution, oldest first
        float inputs[kMostTaps];           // the same where samples are real numbers
        WaveNetContext::Stream context;
    };
    Stream stream[SEQGEN_MAX_STREAMS];
    float* previous;                     // [1] the sample before, where it is a real number
    float* gain;                         // [1] log-gain, where there is one
    float* residual;                     // [residual] what enters the next layer
    float* taps[kMostTaps];              // [residual] what a layer reads, the oldest tap first
    std::uint8_t* tap_bytes[kMostTaps];  // the same in 8 bits
    float* sizes;                        // [taps] of each tap's row, in 8 bits: what 127 stands for
    float* products[kMostTaps];          // [2 gate]
    float* gated;                        // [layers or 1][gate]
    std::uint8_t* gated_bytes;
    float *skip, *head, *logits;
    std::uint8_t *skip_bytes, *head_bytes;
    float* multiplier;  // [1] of what is behind the skips

    // Of each stream [layers][2 gate]: conditioning of the frame before, and from there to the frame's own.
    const float *from, *delta;
    const float* weights;            // [times] how far each sample lies on that way
    float* with_context;             // where there is a context, `from` with its output added
    bool new_frame;                  // `from` is new
    float *context_state, *scratch;  // of the context
    int streams, times;

    // Products of far taps, those that look back kMostPrepared samples or more, for `prepared` samples of each stream:
    // a row for each sample, stream by stream. Of such taps the arrays above have their sizes only.
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
class WaveNet {
   public:
    // Raises Failure for missing or unfitting tensors.
    WaveNet(const Json& op, const Tensors& tensors, seqgen_format format, const Kernels& kernels,
            std::optional<LogGain> gain, const std::string& where);

    // Numbers of a conditioning vector, one more where there is a gain; and those of one in the network's own layout.
    std::size_t channels() const { return gates_.size() * 2 * units_ + (gain_ ? 1 : 0); }
    std::size_t vector() const { return gates_.size() * 2 * gate_ + (gain_ ? kSimdWidth : 0); }
    void arrange(const float* vector, float* made) const;

    std::size_t num_outputs() const { return out_.height; }  // numbers that it makes for a sample
    std::size_t layers() const { return gates_.size(); }
    bool reads_symbols() const { return !tables_.empty(); }  // otherwise real numbers
    bool takes_blocks() const { return !context_; }          // a pass may take more than one sample
    std::size_t blocks() const;
    std::size_t bytes() const;

    std::size_t state_bytes() const;
    void init(unsigned char* state) const;
    bool fits(const unsigned char* state) const;
    void load(WaveNetBuffers& buffers, int stream, unsigned char* state) const;
    void save(const WaveNetBuffers& buffers, int stream, unsigned char* state) const;

    // Points `buffers` to arrays for so many rows, and to those of far taps, which are as large for any number of
    // streams.
    void reserve(WaveNetBuffers& buffers, Workspace& memory, std::size_t rows) const;
    void reserve_far(WaveNetBuffers& buffers, Workspace& memory) const;

    // The outputs' products of a pass, from the sample before each; `before`: that of each stream where they are
    // symbols, of which a pass takes one.
    void advance(WaveNetBuffers& buffers, const int* before) const;
    // The distribution of a row's symbol; or the outputs of a row, and with their gain those that a distribution of
    // real numbers takes.
    Logits logits(const WaveNetBuffers& buffers, int row) const;
    float* outputs(WaveNetBuffers& buffers, int row) const;
    float* params(WaveNetBuffers& buffers, int row, const Distribution& distribution) const;

   private:
    struct Layer {
        PackedMatrix matrix;
        AlignedArray<float> bias;  // padded to whole vectors
        std::size_t height = 0;    // without that
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
    void enter(WaveNetBuffers& buffers, const int* before) const;
    void add_context(WaveNetBuffers& buffers, int stream, int symbol) const;
    void enter_symbol(WaveNetBuffers::Stream& own, int symbol, float* made) const;
    void enter_real(WaveNetBuffers::Stream& own, float value, float gain, float* made) const;
    void prepare(WaveNetBuffers& buffers) const;
    // The row of far products that a stream's sample reads.
    static std::size_t far_row(const WaveNetBuffers& buffers, int stream) {
        return static_cast<std::size_t>(stream * buffers.prepared + buffers.used);
    }
    float read_row(const unsigned char* row, float* made, std::uint8_t* bytes) const;
    void recall(WaveNetBuffers& buffers, const Ring& ring) const;
    void recall(WaveNetBuffers& buffers, const Ring& ring, int stream, int time) const;
    void filter(WaveNetBuffers& buffers, std::size_t layer) const;
    void apply(const PackedMatrix& matrix, Rows<const float> x, Rows<const std::uint8_t> bytes, Rows<float> y,
               int rows) const;
    void rectify(WaveNetBuffers& buffers, const Layer& layer, const Layer& next, float* y, std::uint8_t* bytes) const;

    const Kernels* kernels_;
    seqgen_format format_;
    std::size_t units_ = 0, channels_ = 0;  // of z and of the residual stream, as the program has them
    std::size_t gate_ = 0, residual_ = 0;   // padded to whole vectors
    std::size_t taps_ = 0, front_ = 0;
    std::vector<Ring> rings_;
    std::size_t rows_ = 0;  // of all rings
    std::size_t far_ = 0;   // taps
    std::vector<AlignedArray<float>>
        tables_;  // of each tap of the first convolution: [257][residual], the last row zero
    std::vector<AlignedArray<float>> columns_;  // the same for real numbers: [residual]
    float inverse_unit_ = 1;                    // of real numbers
    std::optional<LogGain> gain_;
    std::optional<WaveNetContext> context_;
    AlignedArray<float> front_bias_;
    std::vector<std::vector<PackedMatrix>> gates_;  // [layers][taps]
    std::vector<Layer> residuals_;
    bool skips_ = true;  // otherwise the head reads the residual stream
    Layer skip_, head_, out_;
};

}  // namespace seqgen
