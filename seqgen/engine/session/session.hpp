// One sampling call under way: states in, frames and samples, states out, all in the caller's workspace.
#pragma once

#include <cstddef>
#include <cstdint>

#include "call/sample_io.hpp"
#include "call/synthesis.hpp"
#include "call/workspace.hpp"
#include "session/model.hpp"

namespace seqgen {

// Some streams of a call side by side: as many as the model's body takes at a time. Checked beforehand by engine.cpp;
// nothing in here fails, allocates or locks.
class Session {
   public:
    // Bytes of workspace for a number of streams, room for alignment included.
    static std::size_t workspace(const Model& model, int streams);

    // All streams of a call, drawn or scored.
    static void run(const Model& model, const seqgen_call& call, bool drawing);

   private:
    // The streams of the call from `first` on.
    struct Part {
        int first, streams;
    };
    Session(const Model& model, const seqgen_call& call, bool drawing, Part part, const HelperLease& helper,
            Workspace& memory);
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;
    ~Session();

    void run();
    void load();
    void save();
    void enter(std::int64_t frame);
    void enter_all();
    void make() const;

    // A stream's parts of its state blob.
    StateParts parts(std::size_t stream) {
        return model_.parts(headers_[stream], static_cast<unsigned char*>(call_.states[part_.first + stream]));
    }

    const Model& model_;
    const seqgen_call& call_;
    const Part part_;
    const HelperLease& helper_;
    const std::int64_t skipped_;  // conditioning vectors dropped at the start of the call
    Synthesis synthesis_;
    const SampleIO io_;
    float *scratch_, *conditioner_state_;  // of the conditioner, stream by stream
    BodyCall* body_;
    StateHeader headers_[SEQGEN_MAX_STREAMS];
};

}  // namespace seqgen
