#include "session/model.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "program/failure.hpp"

namespace seqgen {
namespace {

constexpr int kProgramFormat = 1;
constexpr std::size_t kLargestProgram = std::size_t{1} << 20;
constexpr std::int64_t kMostSize = 1 << 16;
constexpr std::size_t kMostOps = 4096;
constexpr std::size_t kLargestState = std::size_t{1} << 24;

void expect(bool right, const std::string& where, const std::string& otherwise) {
    if (!right) throw Failure(SEQGEN_FORMAT, where + ": " + otherwise);
}

// Everything that a program may consist of.
std::string known_ops() {
    return std::string(Conditioner::kKnownOps) + ", interpolate, levelled, " + known_bodies() + ", " +
           known_distributions() + ", bytes16, mulaw8, float, symbols, bands, prediction";
}

bool is_codec(const std::string& name) {
    return name == "bytes16" || name == "mulaw8" || name == "float" || name == "symbols";
}

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
    sample_rate = static_cast<int>(size("sample_rate", 0, 1 << 24));
    speaks_ = sample_rate > 0;  // what makes symbols takes a frame for each
    channels = static_cast<std::size_t>(size("channels", speaks_ ? 1 : 0, kMostSize));
    hop = static_cast<std::size_t>(size("hop", 1, speaks_ ? kMostSize : 1));
    latency = static_cast<std::size_t>(size("latency", 0, speaks_ ? std::int64_t{64} * kMostSize : 0));
    Tensors tensors;
    for (const Json& name : program.at("tensors", where).list(where)) {
        tensors.read(directory + "/" + plain_name(name.string(where), where));
    }
    const seqgen_format asked = format_named(program.at("precision", where).string(where), where);
    format = options.format == SEQGEN_FORMAT_PROGRAM ? asked : static_cast<seqgen_format>(options.format);
    // Conditioning needs no more precision than what it is added to, and its weights crowd the body's out of the cache.
    conditioner =
        Conditioner(channels, format == SEQGEN_FORMAT_FLOAT32 ? SEQGEN_FORMAT_FLOAT32 : SEQGEN_FORMAT_BF16, kernels);
    const auto& ops = program.at("ops", where).list(where);
    expect(ops.size() <= kMostOps, where, "more than 4096 ops");
    for (std::size_t i = 0; i < ops.size(); ++i) add(ops[i], tensors, where + ": op " + std::to_string(i));
    expect(decodes_, where, "the ops end before the codec");
    expect(state_bytes() <= kLargestState, where, "a stream's state is larger than 16 MiB");
    if (options.threads == 2 && body->divisible()) helper = std::make_unique<HelperThread>();
    signature = fingerprint(file.data(), file.size(), tensors.signature() + static_cast<std::uint64_t>(format));
}

void Model::add(const Json& op, const Tensors& tensors, const std::string& where) {
    const std::string& name = op.at("op", where).string(where);
    const std::string here = where + " (" + name + ")";
    if (name == "interpolate") {
        interpolate(op, tensors, here);
    } else if (name == "levelled") {
        expect(interpolates_ && !body && !gain_, here, "it stands once, behind interpolate");
        gain_ = LogGain::read(op, here);
    } else if (const EncoderRow* row = find_encoder(name)) {
        load_encoder(*row, op, tensors, here);
    } else if (const BodyRow* row = find_body(name)) {
        load_body(*row, op, tensors, here);
    } else if (const DistributionRow* row = find_distribution(name)) {
        load_distribution(*row, op, here);
    } else if (is_codec(name)) {
        expect(draws_ && !decodes_, here, "it stands once, behind the distribution");
        expect(name == body->traits().codec, here, "it does not go with this cell and distribution");
        decodes_ = true;
    } else if (name == "bands") {
        expect(decodes_ && !bands && !prediction && body->traits().group > 1, here,
               "it stands once, behind float and a cell of bands");
        bands = std::make_unique<Bands>(op, here);
        expect(bands->bands() == static_cast<std::size_t>(body->traits().group), here, "the cell has other bands");
    } else if (name == "prediction") {
        const BodyTraits traits = body ? body->traits() : BodyTraits{""};
        const bool placed = decodes_ && !prediction && traits.lanes == 1 && traits.feeds_back &&
                            (traits.symbols_per_sample == 2 || traits.classes == 0);
        expect(placed, here, "it stands once, behind bytes16 or float without lanes");
        prediction = std::make_unique<Prediction>(op, tensors, channels, hop, latency, here);
    } else if (!speaks_ || interpolates_ || !conditioner.append(op, tensors, here)) {
        throw Failure(SEQGEN_UNSUPPORTED, where + ": unknown op '" + name + "' here; known: " + known_ops());
    }
}

BodySource Model::source(const Json& op, const Tensors& tensors, const std::string& where) const {
    return {op, tensors, format, kernels, gain_, hop, latency, channels, first_vector_, where};
}

void Model::load_encoder(const EncoderRow& row, const Json& op, const Tensors& tensors, const std::string& where) {
    expect(!speaks_ && !encoder && !body, where, "it stands once, before the decoder that takes its columns");
    encoder = row.make(source(op, tensors, where));
    unfolding = Unfolding(op, where);
    expect(encoder->channels() == channels, where, "its columns have not as many 'channels' as the program says");
}

void Model::load_body(const BodyRow& row, const Json& op, const Tensors& tensors, const std::string& where) {
    const bool reached = row.behind == std::string(kNothing) ? !speaks_ : interpolates_;
    const bool placed = reached && !draws_ && row.wraps == (body != nullptr);
    if (placed) body = row.make(source(op, tensors, where), std::move(body));
    expect(placed && body, where, std::string("it stands once, behind ") + row.behind);
    if (!body->traits().draws) draws_ = decodes_ = true;  // nothing may follow
}

void Model::load_distribution(const DistributionRow& row, const Json& op, const std::string& where) {
    const bool placed = body && !draws_;
    draws_ = placed && body->draws_from(row.op, op, where);
    expect(draws_, where, std::string("it stands once, behind ") + row.behind);
}

void Model::interpolate(const Json& op, const Tensors& tensors, const std::string& where) {
    expect(speaks_ && !interpolates_, where, "it stands once, where audio is made");
    vector = conditioner.value(op.at("in", where).string(where), where);
    const auto up = op.at("up", where).integer(1, kMostSize, where);
    expect(static_cast<std::size_t>(up) == hop, where, "'up' is not the hop");
    std::vector<std::int64_t> shape = {1, 1, static_cast<std::int64_t>(vector.width)};
    first_vector_ = tensors.floats(op.at("initial", where).string(where), shape);
    // Output j lies at w_j = (up // 2 + j - (up - 1) / 2) / up of the way from the centre of one input to the next.
    for (std::int64_t j = 0; j < up; ++j) {
        const double from = static_cast<double>(up / 2 + j) - static_cast<double>(up - 1) / 2;
        weights.push_back(static_cast<float>(from / static_cast<double>(up)));
    }
    interpolates_ = true;
}

std::size_t Model::synthesis_bytes() const {
    const std::size_t summed = bands ? bands->carried() * sizeof(float) : 0;
    return summed + (prediction ? prediction->carried() * sizeof(std::int16_t) : 0);
}

std::size_t Model::state_bytes() const {
    const BodyStateBytes own = body->state_bytes();
    const std::size_t conditioning = conditioner.initial().size() * sizeof(float);
    return (sizeof(StateHeader) + own.before + conditioning + own.behind + synthesis_bytes() + 63) / 64 * 64;
}

StateParts Model::parts(StateHeader& header, unsigned char* blob) const {
    const BodyStateBytes own = body->state_bytes();
    unsigned char* before = blob + sizeof(StateHeader);
    unsigned char* conditioning = before + own.before;
    unsigned char* behind = conditioning + conditioner.initial().size() * sizeof(float);
    return {{header, before, behind}, conditioning, behind + own.behind};
}

void Model::init_state(void* blob) const {
    const auto ahead = static_cast<std::uint32_t>(latency);
    StateHeader header = {kMagic, kVersion, signature, 0, 0, ahead, 0};
    std::memset(blob, 0, state_bytes());
    const StateParts state = parts(header, static_cast<unsigned char*>(blob));
    body->init(state.body);
    std::memcpy(blob, &header, sizeof header);
    const std::vector<float>& initial = conditioner.initial();
    if (!initial.empty()) std::memcpy(state.conditioner, initial.data(), initial.size() * sizeof(float));
    if (!prediction) return;
    std::vector<std::int16_t> carried(prediction->carried());
    prediction->init(carried.data());
    const std::size_t bytes = carried.size() * sizeof(std::int16_t);
    std::memcpy(state.synthesis + synthesis_bytes() - bytes, carried.data(), bytes);
}

StateHeader Model::header(const void* blob) const {
    StateHeader found;
    std::memcpy(&found, blob, sizeof found);
    if (found.magic != kMagic || found.version != kVersion) throw Failure(SEQGEN_STATE, "the blob holds no state");
    if (found.signature != signature) {
        throw Failure(SEQGEN_STATE, "the state belongs to another bundle or weight format");
    }
    const bool held = found.previous >= -1 && found.previous <= 1;
    const auto classes = static_cast<std::uint32_t>(std::max(body->traits().classes, kClasses));
    const bool known = found.coarse < classes && found.fine <= 255 && found.ahead <= latency && held;
    const auto* before = static_cast<const unsigned char*>(blob) + sizeof found;
    if (!known || !body->fits(found, before)) throw Failure(SEQGEN_STATE, "the state is damaged");
    return found;
}

}  // namespace seqgen
