// Encoders: what makes columns of a whole source, for a decoder that takes one with each symbol.
#pragma once

#include <cstddef>
#include <cstdint>

#include "call/workspace.hpp"

namespace seqgen {

// Encoder of a translator. It has weights, which never change, and no state: it reads a source at once.
class Encoder {
   public:
    Encoder() = default;
    Encoder(const Encoder&) = delete;
    Encoder& operator=(const Encoder&) = delete;
    virtual ~Encoder() = default;

    virtual int classes() const = 0;           // of a source's symbol
    virtual std::size_t channels() const = 0;  // of a column

    // Columns [length][channels] of a source whose symbols are all below `classes`. Null arrays where `memory` only
    // counts.
    virtual void run(const std::int32_t* symbols, std::int64_t length, float* columns, Workspace& memory) const = 0;
};

}  // namespace seqgen
