#include "program/json.hpp"

#include <cmath>
#include <cstdlib>
#include <cstring>

#include "program/failure.hpp"

namespace seqgen {
namespace {

constexpr int kDeepest = 32;

class Parser {
   public:
    Parser(const char* begin, const char* end, const std::string& where)
        : begin_(begin), at_(begin), end_(end), where_(where) {}

    Json document() {
        Json value = parse(0);
        space();
        if (at_ != end_) fail("something follows the document");
        return value;
    }

   private:
    [[noreturn]] void fail(const char* what) const {
        throw Failure(SEQGEN_FORMAT,
                      where_ + ": not valid JSON at byte " + std::to_string(at_ - begin_) + " (" + what + ")");
    }

    void space() {
        while (at_ != end_ && (*at_ == ' ' || *at_ == '\n' || *at_ == '\t' || *at_ == '\r')) ++at_;
    }

    bool take(char wanted) {
        space();
        if (at_ == end_ || *at_ != wanted) return false;
        ++at_;
        return true;
    }

    bool word(const char* wanted) {
        const std::size_t length = std::strlen(wanted);
        if (static_cast<std::size_t>(end_ - at_) < length || std::memcmp(at_, wanted, length) != 0) return false;
        at_ += length;
        return true;
    }

    Json parse(int depth) {
        if (depth > kDeepest) fail("nested too deeply");
        space();
        if (at_ == end_) fail("it ends too early");
        Json value;
        if (*at_ == '{') {
            object(value, depth);
        } else if (*at_ == '[') {
            list(value, depth);
        } else if (*at_ == '"') {
            value.kind = Json::Kind::text;
            value.text = text();
        } else if (word("true") || word("false")) {
            value.kind = Json::Kind::boolean;
            value.number = at_[-1] == 'e' && at_[-2] == 'u';
        } else if (!word("null")) {
            number(value);
        }
        return value;
    }

    void object(Json& value, int depth) {
        value.kind = Json::Kind::object;
        ++at_;
        if (take('}')) return;
        do {
            space();
            if (at_ == end_ || *at_ != '"') fail("a name was expected");
            std::string name = text();
            if (!take(':')) fail("':' was expected");
            value.members.emplace_back(std::move(name), parse(depth + 1));
        } while (take(','));
        if (!take('}')) fail("'}' was expected");
    }

    void list(Json& value, int depth) {
        value.kind = Json::Kind::list;
        ++at_;
        if (take(']')) return;
        do {
            value.items.push_back(parse(depth + 1));
        } while (take(','));
        if (!take(']')) fail("']' was expected");
    }

    std::string text() {
        std::string made;
        for (++at_; at_ != end_ && *at_ != '"'; ++at_) {
            if (static_cast<unsigned char>(*at_) < 0x20) fail("a control character in a string");
            if (*at_ == '\\') {
                escape(made);
            } else {
                made.push_back(*at_);
            }
        }
        if (at_ == end_) fail("a string does not end");
        ++at_;
        return made;
    }

    void escape(std::string& made) {
        static const char kinds[] = "\"\\/bfnrt";
        static const char meant[] = "\"\\/\b\f\n\r\t";
        if (++at_ == end_) fail("a string does not end");
        if (const char* found = static_cast<const char*>(std::memchr(kinds, *at_, 8))) {
            made.push_back(meant[found - kinds]);
            return;
        }
        if (*at_ != 'u' || end_ - at_ < 5) fail("an unknown escape");
        unsigned code = 0;
        for (int digit = 0; digit < 4; ++digit) {
            const char c = *++at_;
            const bool letter = (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
            if (!letter && (c < '0' || c > '9')) fail("an unknown escape");
            code = code * 16 + static_cast<unsigned>(letter ? (c | 0x20) - 'a' + 10 : c - '0');
        }
        utf8(made, code);
    }

    // Names in a program are ASCII; halves of a surrogate pair are kept as they come, one by one.
    static void utf8(std::string& made, unsigned code) {
        if (code < 0x80) {
            made.push_back(static_cast<char>(code));
        } else if (code < 0x800) {
            made.push_back(static_cast<char>(0xC0 | (code >> 6)));
            made.push_back(static_cast<char>(0x80 | (code & 0x3F)));
        } else {
            made.push_back(static_cast<char>(0xE0 | (code >> 12)));
            made.push_back(static_cast<char>(0x80 | ((code >> 6) & 0x3F)));
            made.push_back(static_cast<char>(0x80 | (code & 0x3F)));
        }
    }

    void number(Json& value) {
        const char* first = at_;
        while (at_ != end_ && (std::strchr("+-.eE", *at_) ? *at_ != 0 : *at_ >= '0' && *at_ <= '9')) ++at_;
        const std::string digits(first, at_);
        char* last = nullptr;
        value.kind = Json::Kind::number;
        value.number = std::strtod(digits.c_str(), &last);
        if (digits.empty() || *last != 0 || !std::isfinite(value.number)) {
            at_ = first;
            fail("a value was expected");
        }
    }

    const char* begin_;
    const char* at_;
    const char* end_;
    const std::string& where_;
};

[[noreturn]] void unexpected(const std::string& where, const char* wanted) {
    throw Failure(SEQGEN_FORMAT, where + ": " + wanted + " was expected");
}

}  // namespace

Json Json::parse(const char* begin, const char* end, const std::string& where) {
    return Parser(begin, end, where).document();
}

const Json* Json::find(const std::string& name) const {
    for (const auto& member : members) {
        if (member.first == name) return &member.second;
    }
    return nullptr;
}

const Json& Json::at(const std::string& name, const std::string& where) const {
    const Json* found = find(name);
    if (found == nullptr) throw Failure(SEQGEN_FORMAT, where + ": '" + name + "' is missing");
    return *found;
}

const std::string& Json::string(const std::string& where) const {
    if (kind != Kind::text) unexpected(where, "a string");
    return text;
}

const std::vector<Json>& Json::list(const std::string& where) const {
    if (kind != Kind::list) unexpected(where, "a list");
    return items;
}

std::int64_t Json::integer(std::int64_t low, std::int64_t high, const std::string& where) const {
    const double most = 9007199254740992.0;  // beyond 2^53 a double is no exact whole number
    if (kind != Kind::number || number != std::floor(number) || std::fabs(number) > most) {
        unexpected(where, "a whole number");
    }
    const auto value = static_cast<std::int64_t>(number);
    if (value < low || value > high) {
        throw Failure(SEQGEN_FORMAT, where + ": " + std::to_string(value) + " is not between " + std::to_string(low) +
                                         " and " + std::to_string(high));
    }
    return value;
}

double Json::real(const std::string& where) const {
    if (kind != Kind::number) unexpected(where, "a number");
    return number;
}

}  // namespace seqgen
