#include "session/model.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "program/failure.hpp"

namespace seqgen {
namespace {

constexpr int kProgramFormat = 1;
constexpr std::size_t kLargestProgram = std::size_t{1} << 20;
constexpr std::int64_t kMostSize = 1 << 16;
constexpr std::size_t kMostOps = 4096;
constexpr std::size_t kLargestState = std::size_t{1} << 24;
// Below this many bytes of weights a sample two threads spend more on waiting for each other than they save.
constexpr std::size_t kWorthSplitting = std::size_t{1} << 19;
constexpr const char* kKnownOps =
    "normalise, slice, conv, dense, add, relu, gelu, interpolate, wavernn, lanes, levelled, wavenet, parallel-wavenet, "
    "categorical, logistic-mixture, gaussian, logistic, bytes16, mulaw8, float, prediction";

// A name without directories: the program may only point at files of its own bundle.
const std::string& plain_name(const std::string& name, const std::string& where) {
    if (name.empty() || name[0] == '.' || name.find_first_of("/\\") != std::string::npos) {
        throw Failure(SEQGEN_FORMAT, where + ": '" + name + "' is no plain file name");
    }
    return name;
}

seqgen_format format_named(const std::string& name, const std::string& where) {
    if (name == "float32") return SEQGEN_FORMAT_FLOAT32;
    if (name == "bf16") return SEQGEN_FORMAT_BF16;
    if (name == "int8") return SEQGEN_FORMAT_INT8;
    throw Failure(SEQGEN_UNSUPPORTED, where + ": unknown precision '" + name + "'; known: float32, bf16, int8");
}

// Versions first: everything else may mean something different in another one.
void check_version(const Json& program, const std::string& where) {
    const auto version = program.at("format", where + ": format").integer(0, kMostSize, where + ": format");
    if (version != kProgramFormat) {
        throw Failure(SEQGEN_UNSUPPORTED, where + ": program format " + std::to_string(version) + "; known: 1");
    }
    const std::string& order = program.at("byte_order", where).string(where);
    const std::uint16_t probe = 1;
    unsigned char first;
    std::memcpy(&first, &probe, 1);
    if (order != "little" || first != 1) {
        throw Failure(SEQGEN_UNSUPPORTED, where + ": byte order '" + order + "' on a " +
                                              (first == 1 ? "little" : "big") +
                                              "-endian machine; known: little on little");
    }
}

}  // namespace

Model::Model(const std::string& directory, const seqgen_load_options& options) : kernels(choose_kernels(options.isa)) {
    const std::string where = directory + "/program.json";
    const File file(where, kLargestProgram);
    const Json program = Json::parse(file.data(), file.data() + file.size(), where);
    check_version(program, where);
    const auto size = [&](const char* name, std::int64_t low, std::int64_t high) {
        return program.at(name, where).integer(low, high, where + ": " + name);
    };
    sample_rate = static_cast<int>(size("sample_rate", 1, 1 << 24));
    channels = static_cast<std::size_t>(size("channels", 1, kMostSize));
    hop = static_cast<std::size_t>(size("hop", 1, kMostSize));
    latency = static_cast<std::size_t>(size("latency", 0, std::int64_t{64} * kMostSize));
    Tensors tensors;
    for (const Json& name : program.at("tensors", where).list(where)) {
        tensors.read(directory + "/" + plain_name(name.string(where), where));
    }
    const seqgen_format asked = format_named(program.at("precision", where).string(where), where);
    format = options.format == SEQGEN_FORMAT_PROGRAM ? asked : static_cast<seqgen_format>(options.format);
    // Conditioning needs no more precision than what it is added to, and its weights crowd the cell's out of the cache.
    network = Conditioner(channels, format == SEQGEN_FORMAT_FLOAT32 ? SEQGEN_FORMAT_FLOAT32 : SEQGEN_FORMAT_BF16, kernels);
    const auto& ops = program.at("ops", where).list(where);
    expect(ops.size() <= kMostOps, where, "more than 4096 ops");
    for (std::size_t i = 0; i < ops.size(); ++i) add(ops[i], tensors, where + ": op " + std::to_string(i));
    expect(decodes_, where, "the ops end before the codec");
    expect(state_bytes() <= kLargestState, where, "a stream's state is larger than 16 MiB");
    const bool divisible = flows ? flows->divisible() : !stack && cell.bytes() >= kWorthSplitting;
    if (options.threads == 2 && divisible) team = std::make_unique<HelperThread>();
    signature = fingerprint(file.data(), file.size(), tensors.signature() + static_cast<std::uint64_t>(format));
}

void Model::expect(bool right, const std::string& where, const char* what) const {
    if (!right) throw Failure(SEQGEN_FORMAT, where + ": " + what);
}

void Model::add(const Json& op, const Tensors& tensors, const std::string& where) {
    const std::string& name = op.at("op", where).string(where);
    const std::string here = where + " (" + name + ")";
    if (name == "interpolate") {
        interpolate(op, tensors, here);
    } else if (name == "wavernn") {
        load_cell(op, tensors, here);
    } else if (name == "lanes") {
        load_lanes(op, tensors, here);
    } else if (name == "wavenet") {
        load_stack(op, tensors, here);
    } else if (name == "parallel-wavenet") {
        load_flows(op, tensors, here);
    } else if (name == "logistic") {
        load_noise(op, here);
    } else if (name == "levelled") {
        load_level(op, here);
    } else if (load_emission(name, op, here)) {
        draws_ = true;
    } else if (name == "bytes16" || name == "mulaw8" || name == "float") {
        expect(draws_ && !decodes_, here, "it stands once, behind the emission");
        const char* fitting = real() ? "float" : stack ? "mulaw8" : "bytes16";
        expect(name == fitting, here, "it does not go with this cell and emission");
        decodes_ = true;
    } else if (name == "prediction") {
        expect(decodes_ && !prediction && body == &cell && !subscale, here, "it stands once, behind bytes16 without lanes");
        prediction = std::make_unique<Prediction>(op, tensors, channels, hop, latency, here);
    } else if (interpolates_ || !network.append(op, tensors, here)) {
        throw Failure(SEQGEN_UNSUPPORTED, where + ": unknown op '" + name + "' here; known: " + kKnownOps);
    }
}

void Model::load_cell(const Json& op, const Tensors& tensors, const std::string& where) {
    expect(interpolates_ && !body, where, "it stands once, behind interpolate");
    expect(!level_, where, "a level for a cell of bytes");
    cell = WaveRnn(op, tensors, format, kernels, where);
    const auto& start = op.at("start", where).list(where);
    expect(start.size() == 2, where, "'start' is not two bytes");
    for (std::size_t i = 0; i < 2; ++i) start_[i] = static_cast<std::uint32_t>(start[i].integer(0, 255, where));
    stand(cell, 6 * cell.units(), where);
}

// This is the body; the network's vectors must have `width` numbers.
void Model::stand(const Body& made, std::size_t width, const std::string& where) {
    expect(vector.width == width, where, "the conditioning vector has another width than it takes");
    first_vector = AlignedArray<float>(made.given());
    made.arrange(fresh_vector_.data(), first_vector.data());
    body = &made;
}

void Model::load_flows(const Json& op, const Tensors& tensors, const std::string& where) {
    expect(interpolates_ && !body, where, "it stands once, behind interpolate");
    flows = std::make_unique<Flows>(op, tensors, format, kernels, level_, where);
    start_[0] = start_[1] = 0;
    stand(*flows, flows->vector(), where);
}

// What the flows take.
void Model::load_noise(const Json& op, const std::string& where) {
    expect(flows && !draws_, where, "it stands once, behind parallel-wavenet");
    flows->read_noise(op, where);
    draws_ = true;
}

void Model::load_lanes(const Json& op, const Tensors& tensors, const std::string& where) {
    expect(body == &cell && !draws_ && !subscale, where, "it stands once, behind wavernn");
    subscale = std::make_unique<Subscale>(op, tensors, cell, Timing{hop, latency}, format, kernels, where);
    subscale->arrange(fresh_vector_.data(), first_vector.data());
}

void Model::load_level(const Json& op, const std::string& where) {
    expect(interpolates_ && !body && !level_, where, "it stands once, behind interpolate");
    level_ = LogGain::read(op, where);
}

// The distribution of what is drawn. False where the op is none.
bool Model::load_emission(const std::string& name, const Json& op, const std::string& where) {
    auto found = Distribution::named(name, op, where);
    if (!found && name != "categorical") return false;
    expect(body && !flows && !draws_, where, "it stands once, behind a cell that draws sample by sample");
    if (found) {
        expect(stack && stack->real(), where, "it draws real numbers, the cell reads symbols");
        expect(stack->width() == found->params(), where, "'out' does not make its parameters");
    } else {
        op.at("classes", where).integer(kClasses, kClasses, where);
        expect(!stack || !stack->real(), where, "it draws symbols, the cell reads real numbers");
        expect(!stack || stack->width() == kClasses, where, "'out' does not make 256 logits");
    }
    emission = std::move(found);
    return true;
}

void Model::load_stack(const Json& op, const Tensors& tensors, const std::string& where) {
    expect(interpolates_ && !body, where, "it stands once, behind interpolate");
    stack = std::make_unique<WaveNet>(op, tensors, format, kernels, level_, where);
    expect(!level_ || stack->real(), where, "a level for a stack of symbols");
    start_[1] = 0;
    if (stack->real()) {
        start_[0] = 0;
        start_value_ = static_cast<float>(number(op, "start", -1, 1, where));
    } else {
        start_[0] = static_cast<std::uint32_t>(op.at("start", where).integer(0, 255, where));
    }
    // µ-law: y = 2 symbol / 255 - 1, x = sign(y) (256^|y| - 1) / 255, below 1.
    for (int symbol = 0; symbol < kClasses; ++symbol) {
        const double y = 2.0 * symbol / 255 - 1, size = std::expm1(std::fabs(y) * std::log1p(255.0)) / 255;
        levels.push_back(std::min(static_cast<float>(y < 0 ? -size : size), std::nextafter(1.0f, 0.0f)));
    }
    stand(*stack, stack->vector(), where);
}

void Model::interpolate(const Json& op, const Tensors& tensors, const std::string& where) {
    expect(!interpolates_, where, "it stands once");
    vector = network.value(op.at("in", where).string(where), where);
    const auto up = op.at("up", where).integer(1, kMostSize, where);
    expect(static_cast<std::size_t>(up) == hop, where, "'up' is not the hop");
    std::vector<std::int64_t> shape = {1, 1, static_cast<std::int64_t>(vector.width)};
    fresh_vector_ = tensors.floats(op.at("initial", where).string(where), shape);
    // Output j lies at w_j = (up // 2 + j - (up - 1) / 2) / up of the way from the centre of one input to the next.
    for (std::int64_t j = 0; j < up; ++j) {
        const double from = static_cast<double>(up / 2 + j) - static_cast<double>(up - 1) / 2;
        weights.push_back(static_cast<float>(from / static_cast<double>(up)));
    }
    interpolates_ = true;
}

std::size_t Model::params() const {
    constexpr std::size_t kMeanAndLogScale = 2;
    return flows ? kMeanAndLogScale : emission ? emission->params() : kClasses;
}

std::size_t Model::state_bytes() const {
    if (subscale) {
        const std::size_t part = subscale->state_bytes(network.initial().size());
        return (sizeof(StateHeader) + part + 63) / 64 * 64;
    }
    const std::size_t carried = prediction ? prediction->carried() * sizeof(std::int16_t) : 0;
    const std::size_t floats = body->given() + network.initial().size();
    return (sizeof(StateHeader) + body->state_bytes() + floats * sizeof(float) + carried + 63) / 64 * 64;
}

void Model::init_state(void* blob) const {
    const auto ahead = static_cast<std::uint32_t>(latency);
    const StateHeader header = {kMagic, kVersion, signature, start_[0], start_[1], ahead, start_value_};
    auto* bytes = static_cast<unsigned char*>(blob);
    std::memset(bytes, 0, state_bytes());
    std::memcpy(bytes, &header, sizeof header);
    bytes += sizeof header;
    if (subscale) {
        const auto& initial = network.initial();
        return subscale->init(bytes, first_vector.data(), start_, initial.data(), initial.size());
    }
    body->init(bytes);
    bytes += body->state_bytes();
    std::memcpy(bytes, first_vector.data(), first_vector.size() * sizeof(float));
    bytes += first_vector.size() * sizeof(float);
    if (!network.initial().empty()) {
        std::memcpy(bytes, network.initial().data(), network.initial().size() * sizeof(float));
    }
    bytes += network.initial().size() * sizeof(float);
    if (!prediction) return;
    std::vector<std::int16_t> carried(prediction->carried());
    prediction->init(carried.data());
    std::memcpy(bytes, carried.data(), carried.size() * sizeof(std::int16_t));
}

StateHeader Model::header(const void* blob) const {
    StateHeader found;
    std::memcpy(&found, blob, sizeof found);
    if (found.magic != kMagic || found.version != kVersion) throw Failure(SEQGEN_STATE, "the blob holds no state");
    if (found.signature != signature) {
        throw Failure(SEQGEN_STATE, "the state belongs to another bundle or weight format");
    }
    const bool held = found.previous >= -1 && found.previous <= 1;
    if (found.coarse > 255 || found.fine > 255 || found.ahead > latency || !held) {
        throw Failure(SEQGEN_STATE, "the state is damaged");
    }
    const auto* behind = static_cast<const unsigned char*>(blob) + sizeof found;
    if (subscale ? !subscale->fits(behind, found.ahead > 0) : !body->fits(behind)) {
        throw Failure(SEQGEN_STATE, "the state is damaged");
    }
    return found;
}

}  // namespace seqgen
