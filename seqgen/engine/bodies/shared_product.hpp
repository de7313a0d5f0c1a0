// The recurrent product R h of one call of a WaveRNN, shared with the model's helper thread where that is free.
#pragma once

#include "bodies/wavernn.hpp"
#include "call/helper_thread.hpp"

namespace seqgen {

// Product of the recurrent matrix with the states of a call, half by half.
class SharedProduct {
   public:
    // `buffers` must stay where they are.
    SharedProduct(const WaveRnn& network, const WaveRnnBuffers& buffers, const HelperLease& helper)
        : network_(network), buffers_(buffers), helper_(helper) {}

    // Sees that the products of a half are there. A helper goes on to the fine rows while the coarse byte is drawn.
    void multiply(int half) const {
        if (!helper_) {
            if (half == 0) network_.multiply(buffers_, network_.all());
            return;
        }
        const auto help = [](void* context, int job) {
            const auto& product = *static_cast<const SharedProduct*>(context);
            product.network_.multiply(product.buffers_, product.network_.share(job, true));
        };
        if (half == 0) helper_->give(help, const_cast<SharedProduct*>(this));
        network_.multiply(buffers_, network_.share(half, false));
        helper_->collect(half);
    }

   private:
    const WaveRnn& network_;
    const WaveRnnBuffers& buffers_;
    const HelperLease& helper_;
};

}  // namespace seqgen
