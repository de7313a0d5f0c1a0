/* Streams a voice: log-mel features (raw float32 frames) in, a 16-bit WAV file out, 10 frames at a time.
 *
 *     vocode VOICE FEATURES.f32 OUT.wav [SEED]
 *
 * Standard error tells how long the first samples took, loading included, the most memory that the process had, and
 * which kernels ran.
 */
#define _XOPEN_SOURCE 700
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "seqgen_engine.h"

enum { FRAMES = 10 };

static char message[256];

static void need(int good, const char *what) {
    if (good) return;
    fprintf(stderr, "vocode: %s\n", what);
    exit(1);
}

static void put(FILE *file, uint32_t value, int bytes) {
    for (; bytes > 0; --bytes, value >>= 8) fputc((int)(value & 255), file);
}

static void wav_header(FILE *file, uint32_t rate, uint32_t samples) {
    fputs("RIFF", file);
    put(file, 36 + 2 * samples, 4);
    fputs("WAVEfmt ", file);
    put(file, 16, 4), put(file, 1, 2), put(file, 1, 2);
    put(file, rate, 4), put(file, 2 * rate, 4), put(file, 2, 2), put(file, 16, 2);
    fputs("data", file);
    put(file, 2 * samples, 4);
}

static double now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return 1e3 * (double)now.tv_sec + 1e-6 * (double)now.tv_nsec;
}

static double resident_mb(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
#ifdef __APPLE__
    return (double)usage.ru_maxrss / 1048576; /* bytes there, kibibytes elsewhere */
#else
    return (double)usage.ru_maxrss / 1024;
#endif
}

int main(int argc, char **argv) {
    const double began = now_ms();
    double first = 0;
    need(argc >= 4, "give VOICE FEATURES.f32 OUT.wav [SEED]");
    seqgen_model model;
    seqgen_model_info info = {.struct_size = sizeof info};
    need(!seqgen_load(argv[1], NULL, &model, message, sizeof message), message);
    need(!seqgen_describe(model, &info, message, sizeof message), message);
    FILE *in = fopen(argv[2], "rb"), *out = fopen(argv[3], "wb");
    need(in && out, "cannot open the files");

    const size_t frame = sizeof(float) * (size_t)info.channels;
    const size_t most = FRAMES * (size_t)info.hop;
    void *state = malloc(info.state_bytes), *workspace = malloc(info.workspace_bytes);
    float *features = malloc(FRAMES * frame);
    int16_t *pcm = malloc(most * sizeof *pcm);
    need(state && workspace && features && pcm, "out of memory");
    need(!seqgen_state_init(model, state, info.state_bytes, message, sizeof message), message);

    uint64_t stream = 0, position = 0;
    uint32_t made = 0;
    seqgen_call call = {.struct_size = sizeof call, .states = &state, .streams = 1, .workspace = workspace,
                        .workspace_bytes = info.workspace_bytes, .features = features, .temperature = 1,
                        .seed = argc > 4 ? strtoull(argv[4], NULL, 10) : 0, .stream_ids = &stream,
                        .positions = &position, .pcm = pcm};
    wav_header(out, (uint32_t)info.sample_rate, 0);
    while ((call.frames = (int64_t)fread(features, frame, FRAMES, in)) > 0) {
        need(!seqgen_state_samples(model, state, info.state_bytes, call.frames, &call.samples, message, sizeof message),
             message);
        need(!seqgen_sample(model, &call, message, sizeof message), message);
        if (made == 0 && call.samples > 0) first = now_ms() - began;
        for (int64_t i = 0; i < call.samples; ++i) put(out, (uint16_t)pcm[i], 2);
        made += (uint32_t)call.samples;
        position += (uint64_t)(call.samples * info.uniforms_per_sample);
    }
    rewind(out);
    wav_header(out, (uint32_t)info.sample_rate, made);
    need(fclose(out) == 0, "cannot write the file");
    fclose(in);
    fprintf(stderr, "vocode: %lu samples, the first after %.1f ms; %.1f MB of memory; %s kernels\n",
            (unsigned long)made, first, resident_mb(), info.isa);
    seqgen_close(model, NULL, 0);
    free(state), free(workspace), free(features), free(pcm);
    return 0;
}
