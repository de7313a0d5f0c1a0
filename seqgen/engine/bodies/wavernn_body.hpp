// WaveRNN as a body: samples of two bytes, the coarse one drawn before the fine one.
#pragma once

#include <cstdint>

#include "bodies/body.hpp"
#include "bodies/wavernn.hpp"

namespace seqgen {

// The op `wavernn`.
class WaveRnnBody final : public Body {
   public:
    // Raises Failure for missing or unfitting tensors, or a gain.
    explicit WaveRnnBody(const BodySource& source);

    const WaveRnn& network() const { return network_; }
    const std::uint32_t (&start() const)[2] { return start_; }  // the bytes before the first sample

    BodyTraits traits() const override;
    bool draws_from(const std::string& name, const Json& op, const std::string& where) override;
    std::size_t channels() const override { return 6 * network_.units(); }
    std::size_t weight_blocks() const override { return network_.blocks(); }
    std::size_t weight_bytes() const override { return network_.bytes(); }
    bool divisible() const override;

    BodyStateBytes state_bytes() const override;
    void init(const BodyState& state) const override;
    bool fits(const StateHeader&, const unsigned char*) const override { return true; }

    BodyCall* open(Workspace& memory, const CallContext& context) const override;
    void load(BodyCall& call, int stream, const BodyState& state) const override;
    void save(BodyCall& call, int stream, const BodyState& state) const override;
    void enter(BodyCall& call, const Frame& frame) const override;
    bool advance(BodyCall& call) const override;
    void draw(BodyCall& call) const override;

   private:
    WaveRnn network_;
    std::uint32_t start_[2] = {};
    AlignedArray<float> vector_;  // of conditioning, before the first frame
};

}  // namespace seqgen
