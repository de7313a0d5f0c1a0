// The blocks of a call on their way through the flows, where there is a helper two at a time: it takes one through the
// last flows while the caller takes the next one through the first.
#pragma once

#include "bodies/flows.hpp"
#include "call/helper_thread.hpp"

namespace seqgen {

class FlowPass {
   public:
    // `done(context, block)` is called for each block in turn. This must stay where it is.
    using Done = void (*)(void* context, const FlowBlock& block);
    FlowPass(const Flows* flows, HelperThread* team, Done done, void* context)
        : flows_(flows), crew_(team), done_(done), context_(context) {}

    // Points to the memory of its passes, got from `take(bytes)`.
    template <typename Take>
    void reserve(Take&& take) {
        for (unsigned char*& scratch : scratch_) scratch = static_cast<unsigned char*>(take(flows_->scratch()));
    }

    // The block that runs next, and its run.
    FlowBlock& next() { return blocks_[now_]; }
    void run() {
        flows_->run(0, scratch_[0], blocks_[now_]);
        if (!crew_) {
            flows_->run(1, scratch_[1], blocks_[now_]);
            done_(context_, blocks_[now_]);
            return;
        }
        finish();
        const auto help = [](void* context, int job) {
            auto& pass = *static_cast<FlowPass*>(context);
            if (job == 0) pass.flows_->run(1, pass.scratch_[1], pass.blocks_[pass.under_way_]);
        };
        under_way_ = now_;
        now_ = 1 - now_;
        crew_->give(help, this);
        crew_->summon();  // it sleeps where it was done long before the caller
    }

    // Sees that all blocks are done.
    void finish() {
        if (under_way_ < 0) return;
        for (const int job : {0, 1}) crew_->collect(job);
        done_(context_, blocks_[under_way_]);
        under_way_ = -1;
    }

   private:
    const Flows* flows_;
    const HelperLease crew_;
    const Done done_;
    void* const context_;
    FlowBlock blocks_[2];
    unsigned char* scratch_[2] = {};
    int now_ = 0, under_way_ = -1;
};

}  // namespace seqgen
