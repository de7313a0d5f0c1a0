// The workspace of one call: arrays one behind the other in memory that the caller owns.
#pragma once

#include <cstddef>
#include <cstdint>

namespace seqgen {

// Hands out parts of a block of memory, each aligned to 64 bytes. Without memory it counts what they would take, so
// that one function both measures a workspace and lays it out.
class Workspace {
   public:
    Workspace() = default;
    explicit Workspace(void* memory) : next_(static_cast<unsigned char*>(memory)) {
        next_ += (kAlignment - reinterpret_cast<std::uintptr_t>(next_) % kAlignment) % kAlignment;
    }

    // Null where it only counts.
    void* take(std::size_t bytes) {
        const std::size_t whole = (bytes + kAlignment - 1) / kAlignment * kAlignment;
        unsigned char* taken = next_;
        if (next_ != nullptr) next_ += whole;
        size_ += whole;
        return taken;
    }
    template <typename T>
    T* array(std::size_t count) {
        return static_cast<T*>(take(count * sizeof(T)));
    }
    float* floats(std::size_t count) { return array<float>(count); }
    std::uint8_t* bytes(std::size_t count) { return array<std::uint8_t>(count); }

    // Bytes of all parts; memory of any alignment must have `kAlignment` more.
    std::size_t size() const { return size_; }
    static constexpr std::size_t kAlignment = 64;

   private:
    unsigned char* next_ = nullptr;
    std::size_t size_ = 0;
};

}  // namespace seqgen
