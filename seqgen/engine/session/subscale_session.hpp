// One sampling call of a model with lanes: its streams one after the other, the lanes of each side by side.
#pragma once

#include <cstddef>
#include <cstdint>

#include "bodies/shared_product.hpp"
#include "call/philox.hpp"
#include "session/model.hpp"

namespace seqgen {

// Checked beforehand by engine.cpp; nothing in here fails, allocates or locks.
class SubscaleSession {
   public:
    SubscaleSession(const Model& model, const seqgen_call& call, bool drawing);

    void run();

    // Bytes of workspace, room for alignment included.
    static std::size_t workspace(const Model& model);

   private:
    // A stream's arrays in the call's workspace.
    struct Arrays {
        WaveRnnBuffers& cell;
        float *vectors = nullptr, *deltas = nullptr;         // [frames][6 half], see `frame_`
        float *scratch = nullptr, *network_state = nullptr;  // the conditioning network's
        LaneContext::Arrays context{};
        float* carried = nullptr;         // [B][carried] its state, as a blob has it
        std::uint8_t* bytes = nullptr;    // [B][channels] what it makes in 8 bits
        float* told = nullptr;            // [B][6 half]
        float* units = nullptr;           // [steps][B] samples as the lanes read them, the last lane first
        std::int16_t* samples = nullptr;  // [steps][B], the first lane first

        template <typename Take>
        void reserve(const Model& model, Take&& take);
    };

    template <typename Move>
    void each_part(Move&& move);
    void load(int stream);
    void save(int stream);
    void restore();
    void frame(std::int64_t index);
    void steps(std::int64_t waited);
    void step(std::int64_t along);
    void read(std::size_t lane, std::size_t back);
    void make(std::int64_t along, int rows);
    int started(std::int64_t steps) const;
    void condition(std::int64_t along, int rows);
    int choose(std::int64_t element, int which, int lane);
    void enter(std::size_t lane);
    void put(std::int64_t index);

    // The place in the ring of samples that is `back` steps behind the next one.
    std::size_t behind(std::size_t back) const {
        return step_ >= back ? step_ - back : step_ + ring_ - back;
    }

    const Model& model_;
    const Subscale& subscale_;
    const seqgen_call& call_;
    const bool drawing_;
    const std::int64_t lanes_, lag_, depth_, horizon_;
    const std::size_t ring_;  // lane steps of the ring of samples

    WaveRnnBuffers cell_{};
    Arrays arrays_{cell_};
    SharedProduct product_;
    float sharpness_;
    float known_[SEQGEN_MAX_STREAMS][3];
    float scales_[SEQGEN_MAX_STREAMS];
    Philox noise_[SEQGEN_MAX_STREAMS];  // one for each lane: its positions come in order

    // The stream that is made.
    int stream_ = 0;
    StateHeader header_{};
    Subscale::Place place_{};
    std::size_t step_ = 0, frame_ = 0;  // the places in the rings that are written next
    std::int64_t taken_ = 0;            // steps since lane 0 began to read, as far as they matter
    std::int64_t origin_ = 0;           // sample of the call, counted as if nothing waited, at which the frame begins
};

}  // namespace seqgen
