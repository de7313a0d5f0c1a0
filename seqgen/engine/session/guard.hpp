// What every function of the C interface does around its work: arguments are checked, failures become a status and a message.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <string>

#include "program/failure.hpp"
#include "seqgen_engine.h"

namespace seqgen {

inline void tell(char* message, std::size_t bytes, const char* text) noexcept {
    if (message == nullptr || bytes == 0) return;
    const std::size_t length = std::min(std::strlen(text), bytes - 1);
    std::memcpy(message, text, length);
    message[length] = 0;
}

template <typename F>
std::int32_t guarded(char* message, std::size_t bytes, F function) noexcept {
    try {
        tell(message, bytes, "");
        function();
        return SEQGEN_OK;
    } catch (const Failure& failure) {
        tell(message, bytes, failure.what());
        return failure.status();
    } catch (const std::bad_alloc&) {
        tell(message, bytes, "out of memory");
        return SEQGEN_MEMORY;
    } catch (const std::exception& error) {
        tell(message, bytes, error.what());
        return SEQGEN_INTERNAL;
    } catch (...) {
        tell(message, bytes, "an unknown failure");
        return SEQGEN_INTERNAL;
    }
}

inline void require(bool right, const std::string& otherwise) {
    if (!right) throw Failure(SEQGEN_INVALID, otherwise);
}

// The caller's structure in this version's size: fields that an older caller does not know are zero.
template <typename T>
T whole(const T* given, const char* name) {
    require(given != nullptr, std::string(name) + " is null");
    require(given->struct_size >= sizeof(std::size_t) && given->struct_size <= 4096,
            std::string(name) + ".struct_size is " + std::to_string(given->struct_size) + "; set it to sizeof(" + name +
                ")");
    T made{};
    std::memcpy(&made, given, std::min(sizeof made, given->struct_size));
    return made;
}

}  // namespace seqgen
