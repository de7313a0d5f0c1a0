// Rows of a call that reads symbols and makes them: some positions of each stream at a time.
#pragma once

#include <cstddef>
#include <cstdint>

#include "bodies/body.hpp"

namespace seqgen {

// What a network over symbols is given and gives back, row by row: row s * times() + p is position p of a block of
// stream s. A block has one position where symbols are drawn, of which each is read for the next; where they are given
// it has up to `most_rows` over all streams, so that weights are read once for all of them.
class SymbolRows {
   public:
    static constexpr int kMostRows = SEQGEN_MAX_STREAMS;

    // `classes` of a symbol; `blocks`: whether the network takes several positions at once.
    SymbolRows(Workspace& memory, const CallContext& context, std::size_t classes, bool blocks);

    // The last symbol of a stream and its generator.
    void load(int stream, const BodyState& state);
    void save(int stream, const BodyState& state) const;

    void enter(const Frame& frame);

    // Goes on to the next block. False where there is none.
    bool next();
    int times() const { return times_; }  // positions of the block
    int rows() const { return times_ * context_.streams; }
    int most_rows() const { return most_rows_; }  // of any block

    // The symbol that a row reads, and its column.
    int symbol(int row) const;
    const float* column(int row, std::size_t channels) const;

    // Draws or scores all rows of the block, whose logits are multipliers[row] * products[row] + bias.
    void draw(Rows<const float> products, const float* bias, const float* multipliers, const Kernels& kernels);

   private:
    const CallContext context_;
    const std::size_t classes_;
    const int most_rows_;
    float* scratch_;
    Philox generators_[SEQGEN_MAX_STREAMS];
    int previous_[SEQGEN_MAX_STREAMS];
    Frame frame_{};
    std::int64_t position_ = 0;  // of the call that the block begins with
    int times_ = 0;
};

}  // namespace seqgen
