#include "session/handles.hpp"

#include "program/failure.hpp"

namespace seqgen {
namespace {

constexpr std::size_t kSlots = 256;
constexpr std::uint64_t kUsers = 0xFFFFFFFF;  // low half of a slot's word: who uses it, the handle itself included
constexpr std::uint64_t kOpen = std::uint64_t{1} << 32;
constexpr int kGeneration = 33;  // the rest counts how often the slot was used

// A handle is the slot's number plus one, and its generation above 16 bits.
struct Slot {
    std::atomic<std::uint64_t> word{0};
    std::unique_ptr<Model> model;
};

Slot slots[kSlots];

[[noreturn]] void closed() { throw Failure(SEQGEN_CLOSED, "the handle is no open model"); }

seqgen_model handle_of(std::size_t slot, std::uint64_t word) { return (word >> kGeneration) << 16 | (slot + 1); }

std::size_t slot_of(seqgen_model handle) {
    const std::uint64_t number = handle & 0xFFFF;
    if (number == 0 || number > kSlots) closed();
    return static_cast<std::size_t>(number - 1);
}

void release(Slot& slot) {
    std::uint64_t word = slot.word.load(std::memory_order_acquire);
    do {
        if ((word & kUsers) != 1) continue;
        // The last user stays counted until the model is gone: a slot without users is open_handle's to take.
        slot.model.reset();
        slot.word.store(((word >> kGeneration) + 1) << kGeneration, std::memory_order_release);
        return;
    } while (!slot.word.compare_exchange_weak(word, word - 1, std::memory_order_acq_rel, std::memory_order_acquire));
}

}  // namespace

seqgen_model open_handle(std::unique_ptr<Model> model) {
    for (std::size_t i = 0; i < kSlots; ++i) {
        std::uint64_t word = slots[i].word.load(std::memory_order_acquire);
        // One user without the open mark: taken, and not yet to be found by ModelReference.
        if ((word & (kOpen | kUsers)) != 0 ||
            !slots[i].word.compare_exchange_strong(word, word + 1, std::memory_order_acq_rel)) {
            continue;
        }
        slots[i].model = std::move(model);
        slots[i].word.fetch_or(kOpen, std::memory_order_release);
        return handle_of(i, word);
    }
    throw Failure(SEQGEN_MEMORY, "256 models are open already; close one");
}

void close_handle(seqgen_model handle) {
    Slot& slot = slots[slot_of(handle)];
    std::uint64_t word = slot.word.load(std::memory_order_acquire);
    do {
        if ((word & kOpen) == 0 || handle_of(slot_of(handle), word) != handle) closed();
    } while (!slot.word.compare_exchange_weak(word, word & ~kOpen, std::memory_order_acq_rel));
    release(slot);
}

ModelReference::ModelReference(seqgen_model handle) : slot_(slot_of(handle)) {
    Slot& slot = slots[slot_];
    std::uint64_t word = slot.word.load(std::memory_order_acquire);
    do {
        if ((word & kOpen) == 0 || handle_of(slot_, word) != handle) closed();
    } while (!slot.word.compare_exchange_weak(word, word + 1, std::memory_order_acq_rel));
    model_ = slot.model.get();
}

ModelReference::~ModelReference() { release(slots[slot_]); }

}  // namespace seqgen
