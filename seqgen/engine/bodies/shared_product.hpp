// The cell's product R h of one call, shared with the model's helper where that is free.
#pragma once

#include "bodies/wavernn.hpp"
#include "call/helper_thread.hpp"

namespace seqgen {

class SharedProduct {
   public:
    // `lanes` must stay where they are.
    SharedProduct(const WaveRnn& cell, const WaveRnnBuffers& lanes, HelperThread* team) : cell_(cell), lanes_(lanes), crew_(team) {}

    // There will be something to do soon.
    void summon() const {
        if (crew_) crew_->summon();
    }

    // Sees that the products of a half are there. A helper goes on to the fine rows while the coarse byte is drawn.
    void multiply(int which) const {
        if (!crew_) {
            if (which == 0) cell_.multiply(lanes_, cell_.all());
            return;
        }
        const auto help = [](void* context, int job) {
            const auto& product = *static_cast<const SharedProduct*>(context);
            product.cell_.multiply(product.lanes_, product.cell_.share(job, true));
        };
        if (which == 0) crew_->give(help, const_cast<SharedProduct*>(this));
        cell_.multiply(lanes_, cell_.share(which, false));
        crew_->collect(which);
    }

   private:
    const WaveRnn& cell_;
    const WaveRnnBuffers& lanes_;
    const HelperLease crew_;
};

}  // namespace seqgen
