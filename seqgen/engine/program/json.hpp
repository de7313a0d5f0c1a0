// A small JSON reader for the two documents the engine meets: program.json and a safetensors header.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace seqgen {

// A parsed value. The accessors throw Failure, naming `where`, for a value of another kind or out of range.
class Json {
   public:
    enum class Kind { null, boolean, number, text, list, object };

    // Raises Failure(SEQGEN_FORMAT) for anything that is not one JSON document (RFC 8259), or nests deeper than 32.
    static Json parse(const char* begin, const char* end, const std::string& where);

    Kind kind = Kind::null;
    double number = 0;
    std::string text;
    std::vector<Json> items;
    std::vector<std::pair<std::string, Json>> members;

    const Json* find(const std::string& name) const;
    const Json& at(const std::string& name, const std::string& where) const;
    const std::string& string(const std::string& where) const;
    const std::vector<Json>& list(const std::string& where) const;
    std::int64_t integer(std::int64_t low, std::int64_t high, const std::string& where) const;
    double real(const std::string& where) const;
};

}  // namespace seqgen
