#include "program/tensors.hpp"

#include <cerrno>
#include <cmath>
#include <cstring>
#include <fstream>

#if defined(__unix__) || defined(__APPLE__)
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#define SEQGEN_MAPS_FILES 1
#endif

#include "program/failure.hpp"
#include "program/json.hpp"

namespace seqgen {
namespace {

constexpr std::size_t kLargestFile = std::size_t{1} << 31;
constexpr std::uint64_t kLargestHeader = std::uint64_t{1} << 22;
constexpr std::size_t kMostAxes = 8;

std::size_t bytes_of(const std::string& kind) {
    if (kind == "F64" || kind == "I64" || kind == "U64") return 8;
    if (kind == "F32" || kind == "I32" || kind == "U32") return 4;
    if (kind == "F16" || kind == "BF16" || kind == "I16" || kind == "U16") return 2;
    return kind == "I8" || kind == "U8" || kind == "BOOL" ? 1 : 0;
}

std::string shape_text(const std::vector<std::int64_t>& shape) {
    std::string text = "[";
    for (std::int64_t size : shape) text += (text.size() > 1 ? ", " : "") + (size < 0 ? "any" : std::to_string(size));
    return text + "]";
}

// Checks one header entry against the `room` bytes behind the header.
Tensor entry(const Json& described, const char* body, std::size_t room, const std::string& where) {
    Tensor tensor;
    tensor.kind = described.at("dtype", where).string(where);
    const std::size_t item = bytes_of(tensor.kind);
    if (item == 0) throw Failure(SEQGEN_FORMAT, where + ": unknown type '" + tensor.kind + "'");
    const auto& sizes = described.at("shape", where).list(where);
    if (sizes.size() > kMostAxes) throw Failure(SEQGEN_FORMAT, where + ": too many axes");
    std::size_t elements = 1;
    for (const Json& size : sizes) {
        tensor.shape.push_back(size.integer(0, static_cast<std::int64_t>(kLargestFile), where));
        const auto factor = static_cast<std::size_t>(tensor.shape.back());
        // An array cannot hold more numbers than the file has bytes, so the product cannot overflow unseen.
        if (factor != 0 && elements > room / factor)
            elements = room + 1;
        else
            elements *= factor;
        if (elements > room) throw Failure(SEQGEN_FORMAT, where + ": larger than the file");
    }
    const auto& extent = described.at("data_offsets", where).list(where);
    if (extent.size() != 2) throw Failure(SEQGEN_FORMAT, where + ": data_offsets are not two numbers");
    const auto limit = static_cast<std::int64_t>(room);
    const auto first = extent[0].integer(0, limit, where), last = extent[1].integer(first, limit, where);
    if (static_cast<std::size_t>(last - first) != elements * item) {
        throw Failure(SEQGEN_FORMAT, where + ": its extent does not fit its shape " + shape_text(tensor.shape));
    }
    tensor.data = body + first;
    tensor.elements = elements;
    return tensor;
}

std::uint16_t number16(const char* data, std::size_t index) {
    std::uint16_t value;
    std::memcpy(&value, data + index * sizeof value, sizeof value);
    return value;
}

template <typename T>
std::vector<T> finite(const Tensor& tensor, const std::string& name) {
    std::vector<T> values(tensor.elements);
    if (tensor.elements != 0) std::memcpy(values.data(), tensor.data, tensor.elements * sizeof(T));
    for (T value : values) {
        if (!std::isfinite(value)) throw Failure(SEQGEN_FORMAT, "tensor '" + name + "' holds NaN or infinity");
    }
    return values;
}

std::vector<float> widened(const Tensor& tensor, const std::string& name) {
    std::vector<float> values(tensor.elements);
    for (std::size_t i = 0; i < values.size(); ++i) {
        const std::uint32_t bits = std::uint32_t{number16(tensor.data, i)} << 16;
        std::memcpy(&values[i], &bits, sizeof bits);
        if (!std::isfinite(values[i])) throw Failure(SEQGEN_FORMAT, "tensor '" + name + "' holds NaN or infinity");
    }
    return values;
}

// By way of double, so that a whole row rounds back to the very same q and peak.
float eighth(char stored, float peak, const std::string& name) {
    const auto q = static_cast<signed char>(stored);
    if (q == -128) throw Failure(SEQGEN_FORMAT, "tensor '" + name + "' holds -128; expected -127 to 127");
    return static_cast<float>(q * static_cast<double>(peak) / 127);
}

}  // namespace

File::File(const std::string& path, std::size_t most) {
    const auto cannot = [&](const char* why) { throw Failure(SEQGEN_IO, path + ": cannot be read (" + why + ")"); };
#ifdef SEQGEN_MAPS_FILES
    const int handle = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (handle < 0) cannot(std::strerror(errno));
    struct stat found;
    const bool known = ::fstat(handle, &found) == 0 && S_ISREG(found.st_mode);
    size_ = known ? static_cast<std::size_t>(found.st_size) : 0;
    void* mapping = MAP_FAILED;
    if (size_ > 0 && size_ <= most) mapping = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, handle, 0);
    ::close(handle);
    if (!known) cannot("not a file");
    if (size_ > most) cannot("too large");
    if (size_ == 0) return;
    if (mapping == MAP_FAILED) cannot(std::strerror(errno));
    data_ = static_cast<const char*>(mapping);
    mapped_ = true;
#else
    std::ifstream stream(path, std::ios::binary | std::ios::ate);
    if (!stream) cannot("it does not open");
    size_ = static_cast<std::size_t>(stream.tellg());
    if (size_ > most) cannot("too large");
    copy_.resize(size_);
    stream.seekg(0);
    if (size_ > 0 && !stream.read(copy_.data(), static_cast<std::streamsize>(size_))) cannot("it ends too early");
    data_ = copy_.data();
#endif
}

File::~File() {
#ifdef SEQGEN_MAPS_FILES
    if (mapped_) ::munmap(const_cast<char*>(data_), size_);
#endif
}

void Tensors::read(const std::string& path) {
    files_.push_back(std::make_unique<File>(path, kLargestFile));
    const File& file = *files_.back();
    held_ += file.size();
    std::uint64_t header = 0;
    if (file.size() < sizeof header) throw Failure(SEQGEN_FORMAT, path + ": too short for a safetensors file");
    for (int byte = 7; byte >= 0; --byte) header = header << 8 | static_cast<unsigned char>(file.data()[byte]);
    if (header > file.size() - sizeof header || header > kLargestHeader) {
        throw Failure(SEQGEN_FORMAT, path + ": its header claims " + std::to_string(header) + " bytes of a file of " +
                                         std::to_string(file.size()));
    }
    const char* begin = file.data() + sizeof header;
    const char* body = begin + header;
    signature_ = fingerprint(begin, header, signature_);
    const Json parsed = Json::parse(begin, body, path);
    if (parsed.kind != Json::Kind::object) throw Failure(SEQGEN_FORMAT, path + ": its header is not an object");
    const auto room = static_cast<std::size_t>(file.data() + file.size() - body);
    for (const auto& [name, described] : parsed.members) {
        if (name == "__metadata__") continue;
        const bool fresh =
            tensors_.emplace(name, entry(described, body, room, path + ": tensor '" + name + "'")).second;
        if (!fresh) throw Failure(SEQGEN_FORMAT, path + ": tensor '" + name + "' stands there twice");
    }
}

const Tensor& Tensors::find(const std::string& name, std::vector<std::int64_t>& shape, const char* kind) const {
    const auto found = tensors_.find(name);
    if (found == tensors_.end()) throw Failure(SEQGEN_FORMAT, "the bundle has no tensor '" + name + "'");
    const Tensor& tensor = found->second;
    bool fits = tensor.kind == kind && tensor.shape.size() == shape.size();
    for (std::size_t axis = 0; fits && axis < shape.size(); ++axis) {
        fits = shape[axis] < 0 ? tensor.shape[axis] >= 1 : tensor.shape[axis] == shape[axis];
    }
    if (!fits) {
        throw Failure(SEQGEN_FORMAT, "tensor '" + name + "' is " + tensor.kind + " " + shape_text(tensor.shape) +
                                         ", expected " + kind + " " + shape_text(shape));
    }
    shape = tensor.shape;
    taken_ += tensor.elements * bytes_of(tensor.kind);
    if (taken_ / kMostUses > held_) {
        throw Failure(SEQGEN_FORMAT, "the ops use the tensors, '" + name + "' among them, more than 16 times over");
    }
    return tensor;
}

std::vector<float> Tensors::floats(const std::string& name, std::vector<std::int64_t>& shape) const {
    const auto found = tensors_.find(name);
    if (found != tensors_.end() && found->second.kind == "BF16") return widened(find(name, shape, "BF16"), name);
    if (found != tensors_.end() && found->second.kind == "I8" && shape.size() == 2) return rounded(name, shape);
    return finite<float>(find(name, shape, "F32"), name);
}

std::vector<float> Tensors::rounded(const std::string& name, std::vector<std::int64_t>& shape) const {
    std::vector<std::int64_t> count = {-1}, two = {2};
    const std::vector<float> peaks = finite<float>(find(name + ".peak", count, "F32"), name + ".peak");
    const auto misfit = [&](std::int64_t height, std::int64_t width) {
        throw Failure(SEQGEN_FORMAT, "tensor '" + name + "' is I8 " + shape_text({height, width}) + ", expected " +
                                         shape_text(shape) + ", and has " + std::to_string(count[0]) + " peaks");
    };
    if (tensors_.count(name + ".shape") == 0) {
        const Tensor& whole = find(name, shape, "I8");
        const std::int64_t parts = shape[0] > 0 ? count[0] / shape[0] : 0;
        if (parts < 1 || parts * shape[0] != count[0] || shape[1] % parts != 0) misfit(shape[0], shape[1]);
        const auto part = static_cast<std::size_t>(shape[1] / parts);
        std::vector<float> values(whole.elements);
        for (std::size_t i = 0; i < values.size(); ++i) values[i] = eighth(whole.data[i], peaks[i / part], name);
        return values;
    }
    std::int32_t sizes[2];
    std::memcpy(sizes, find(name + ".shape", two, "I32").data, sizeof sizes);
    const auto fits = [](std::int32_t size, std::int64_t wanted) {
        return size >= 1 && (wanted < 0 || size == wanted);
    };
    if (!fits(sizes[0], shape[0]) || !fits(sizes[1], shape[1]) || sizes[0] != count[0]) misfit(sizes[0], sizes[1]);
    shape = {sizes[0], sizes[1]};
    return blocks(name, shape, peaks);
}

std::vector<float> Tensors::blocks(const std::string& name, const std::vector<std::int64_t>& shape,
                                   const std::vector<float>& peaks) const {
    const auto height = static_cast<std::size_t>(shape[0]), width = static_cast<std::size_t>(shape[1]);
    std::vector<std::int64_t> each = {-1, 16}, strips = {static_cast<std::int64_t>((height + 3) / 4)};
    const Tensor& stored = find(name, each, "I8");
    std::vector<std::int64_t> count = {each[0]};
    const char* columns = find(name + ".columns", count, "U16").data;
    const char* counts = find(name + ".counts", strips, "U16").data;
    const auto wrong = [&](const char* what) { throw Failure(SEQGEN_FORMAT, "tensor '" + name + "' " + what); };
    if (height * width / kLeastDense > stored.elements) wrong("has too few blocks for its shape");
    std::vector<float> values(height * width);
    std::size_t block = 0;
    for (std::size_t row = 0; row < height; row += 4) {
        std::size_t left = number16(counts, row / 4), next = 0;
        if (left > static_cast<std::size_t>(each[0]) - block) wrong("has fewer blocks than its counts say");
        for (; left > 0; --left, ++block) {
            const std::size_t column = 4 * std::size_t{number16(columns, block)};
            if (column < next || column >= width) wrong("has blocks outside itself, or not in order");
            next = column + 4;
            for (std::size_t i = 0; i < 16; ++i) {
                const std::size_t y = row + i / 4, x = column + i % 4;
                if (y < height && x < width)
                    values[y * width + x] = eighth(stored.data[16 * block + i], peaks[y], name);
            }
        }
    }
    if (block != static_cast<std::size_t>(each[0])) wrong("has more blocks than its counts say");
    return values;
}

std::vector<double> Tensors::doubles(const std::string& name, std::vector<std::int64_t>& shape) const {
    return finite<double>(find(name, shape, "F64"), name);
}

std::uint64_t fingerprint(const char* data, std::size_t size, std::uint64_t seed) {
    std::uint64_t hash = seed ^ 0xCBF29CE484222325u;
    for (std::size_t i = 0; i < size; ++i) hash = (hash ^ static_cast<unsigned char>(data[i])) * 0x100000001B3u;
    return hash;
}

}  // namespace seqgen
