// What stands between conditioning vectors and what is drawn.
#pragma once

#include <cstddef>

namespace seqgen {

class Body {
   public:
    Body() = default;
    Body(Body&&) = default;
    Body& operator=(Body&&) = default;
    virtual ~Body() = default;

    // Numbers of a conditioning vector as the body has it, and the one that it makes of the network's.
    virtual std::size_t given() const = 0;
    virtual void arrange(const float* vector, float* made) const = 0;

    // 64-byte blocks of weights that are not zero, and bytes of what is read for every sample, or for several at a time.
    virtual std::size_t blocks() const = 0;
    virtual std::size_t bytes() const = 0;

    // Its part of a state blob, a multiple of 4 bytes: that of a fresh stream, and whether some bytes can be one.
    virtual std::size_t state_bytes() const = 0;
    virtual void init(unsigned char* state) const = 0;
    virtual bool fits(const unsigned char* state) const = 0;
};

}  // namespace seqgen
