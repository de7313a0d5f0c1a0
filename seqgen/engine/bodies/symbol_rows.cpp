#include "bodies/symbol_rows.hpp"

#include <algorithm>

namespace seqgen {

SymbolRows::SymbolRows(Workspace& memory, const CallContext& context, std::size_t classes, bool blocks)
    : context_(context),
      classes_(classes),
      most_rows_(blocks ? std::max(1, kMostRows / context.streams) * context.streams : context.streams),
      scratch_(memory.floats(classes_scratch(classes))) {}

void SymbolRows::load(int stream, const BodyState& state) {
    previous_[stream] = static_cast<int>(state.header.coarse);
    generators_[stream] = context_.io.generator(stream);
}

void SymbolRows::save(int stream, const BodyState& state) const {
    state.header.coarse = static_cast<std::uint32_t>(previous_[stream]);
}

void SymbolRows::enter(const Frame& frame) {
    frame_ = frame;
    position_ = 0;
    times_ = 0;
}

bool SymbolRows::next() {
    position_ += times_;
    const std::int64_t most = context_.io.drawing() ? 1 : most_rows_ / context_.streams;
    times_ = static_cast<int>(std::min(most, frame_.count - position_));
    return times_ > 0;
}

int SymbolRows::symbol(int row) const {
    const int stream = row / times_, p = row % times_;
    return p == 0 ? previous_[stream] : context_.io.given_symbol(stream, position_ + p - 1);
}

const float* SymbolRows::column(int row, std::size_t channels) const {
    const std::int64_t at = position_ + row % times_;
    const auto stream = static_cast<std::size_t>(row / times_);
    return frame_.vectors + stream * frame_.stride + static_cast<std::size_t>(at) * channels;
}

void SymbolRows::draw(Rows<const float> products, const float* bias, const float* multipliers, const Kernels& kernels) {
    for (int row = 0; row < rows(); ++row) {
        const int stream = row / times_;
        const float* y = products.data + static_cast<std::size_t>(row) * products.stride;
        const Logits logits{y, bias, multipliers[row], &kernels, classes_, scratch_};
        const std::int64_t position = position_ + row % times_;
        previous_[stream] = context_.io.symbol(stream, position, logits, generators_[stream]);
        context_.io.put_symbol(stream, position, previous_[stream]);
    }
}

}  // namespace seqgen
