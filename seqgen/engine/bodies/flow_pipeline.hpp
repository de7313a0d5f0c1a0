// Pipeline of two halves of the flows: where there is a helper thread, it takes one block of samples through the last
// flows while the caller takes the next one through the first.
#pragma once

#include <cstdint>

#include "bodies/flows.hpp"
#include "call/helper_thread.hpp"

namespace seqgen {

// Two blocks and the memory of their passes. Without a helper each block goes through all flows at once.
class FlowPipeline {
   public:
    // This must stay where it is.
    FlowPipeline(Workspace& memory, const Flows& flows, const HelperLease& helper) : flows_(flows), helper_(helper) {
        for (std::uint8_t*& scratch : scratch_) scratch = memory.bytes(flows.scratch());
    }

    // The block that runs next, and its run. What is done then must be taken before the next run.
    FlowBlock& next() { return blocks_[now_]; }
    void run() {
        flows_.run(0, scratch_[0], blocks_[now_]);
        if (!helper_) {
            flows_.run(1, scratch_[1], blocks_[now_]);
            done_ = now_;
            return;
        }
        finish();
        const auto help = [](void* context, int job) {
            auto& pipeline = *static_cast<FlowPipeline*>(context);
            if (job == 0) pipeline.flows_.run(1, pipeline.scratch_[1], pipeline.blocks_[pipeline.under_way_]);
        };
        under_way_ = now_;
        now_ = 1 - now_;
        helper_->give(help, this);
        helper_->summon();  // it sleeps where it was done long before the caller
    }

    // Sees that the block under way, if there is one, is done.
    void finish() {
        if (under_way_ < 0) return;
        for (const int job : {0, 1}) helper_->collect(job);
        done_ = under_way_;
        under_way_ = -1;
    }

    // The block that is done, once; null where there is none.
    const FlowBlock* take_done() {
        const FlowBlock* done = done_ < 0 ? nullptr : &blocks_[done_];
        done_ = -1;
        return done;
    }

   private:
    const Flows& flows_;
    const HelperLease& helper_;
    FlowBlock blocks_[2];
    std::uint8_t* scratch_[2] = {};
    int now_ = 0, under_way_ = -1, done_ = -1;
};

}  // namespace seqgen
